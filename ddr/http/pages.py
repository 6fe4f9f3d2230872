"""What every page for patients shares: security headers, the choice of language, and a page that explains an error."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from ddr.http.asgi import Scope, header

STYLESHEET = "/static/style.css"
RETRY_SECONDS = "300"  # when to come back after 503

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
BASE_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Vary": "Accept-Language",
}


class Words(NamedTuple):
    """One text in both languages."""

    de: str
    en: str


class Problem(NamedTuple):
    """What went wrong, and what the patient can do about it."""

    title: Words
    advice: Words


PROBLEMS = {
    "unknown_client": Problem(
        Words("Diese App ist hier nicht bekannt", "This app is not known here"),
        Words(
            "Die App, von der Sie kommen, steht nicht im Verzeichnis der zugelassenen Gesundheitsanwendungen. "
            "Es wurden keine Daten weitergegeben.",
            "The app you came from is not in the register of approved health applications. No data was passed on.",
        ),
    ),
    "unknown_request": Problem(
        Words("Diese Anfrage gilt nicht mehr", "This request is no longer valid"),
        Words(
            "Sie ist abgelaufen oder schon beantwortet. Es wurden keine Daten weitergegeben. "
            "Bitte gehen Sie zurück in Ihre App und starten Sie die Verbindung dort noch einmal.",
            "It has expired or has already been answered. No data was passed on. "
            "Please go back to your app and start the connection there again.",
        ),
    ),
    "bad_request": Problem(
        Words("Diese Anfrage ist unvollständig", "This request is incomplete"),
        Words(
            "Bitte gehen Sie zurück in Ihre App und starten Sie die Verbindung dort noch einmal.",
            "Please go back to your app and start the connection there again.",
        ),
    ),
    "form_expired": Problem(
        Words("Bitte noch einmal", "Please try again"),
        Words(
            "Diese Seite war zu lange offen oder wurde nicht von hier abgeschickt. Es wurde nichts geändert. "
            "Bitte gehen Sie zurück, laden Sie die Seite neu und versuchen Sie es noch einmal.",
            "This page was open for too long or was not sent from here. Nothing was changed. "
            "Please go back, reload the page and try again.",
        ),
    ),
    "not_found": Problem(
        Words("Diese Seite gibt es nicht", "This page does not exist"),
        Words("Bitte prüfen Sie die Adresse.", "Please check the address."),
    ),
    "failed": Problem(
        Words("Das hat nicht geklappt", "That did not work"),
        Words(
            "Der Fehler liegt bei uns. Bitte versuchen Sie es später noch einmal.",
            "The fault is on our side. Please try again later.",
        ),
    ),
    "store_unavailable": Problem(
        Words("Gerade nicht möglich", "Not possible right now"),
        Words(
            "Ihre Daten sind zurzeit nicht erreichbar. Bitte versuchen Sie es in einigen Minuten noch einmal.",
            "Your data cannot be reached at the moment. Please try again in a few minutes.",
        ),
    ),
    "too_slow": Problem(
        Words("Die Übertragung hat zu lange gedauert", "The transfer took too long"),
        Words(
            "Es wurde nichts geändert. Bitte prüfen Sie Ihre Verbindung und versuchen Sie es noch einmal.",
            "Nothing was changed. Please check your connection and try again.",
        ),
    ),
    "login_unavailable": Problem(
        Words("Die Anmeldung ist gerade nicht möglich", "Signing in is not possible right now"),
        Words("Bitte versuchen Sie es in einigen Minuten noch einmal.", "Please try again in a few minutes."),
    ),
    "unavailable": Problem(
        Words("Gerade nicht möglich", "Not possible right now"),
        Words(
            "Das Verzeichnis der zugelassenen Apps ist zurzeit nicht erreichbar. "
            "Bitte versuchen Sie es später noch einmal.",
            "The register of approved apps cannot be reached at the moment. Please try again later.",
        ),
    ),
}

_PAGE = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="{stylesheet}">
</head>
<body><main class="problem"><h1>{title}</h1><p>{advice}</p></main></body>
</html>
"""


def language(scope: Scope) -> str:
    """'en' when the browser prefers English to German (RFC 9110 section 12.5.4), else 'de'."""
    weights = {"de": 0.0, "en": 0.0}
    for part in (header(scope, "accept-language") or "").lower().split(","):
        tag, _, parameter = part.strip().partition(";")
        primary = tag.partition("-")[0].strip()
        if primary in weights:
            weights[primary] = max(weights[primary], _quality(parameter))
    return "en" if weights["en"] > weights["de"] else "de"


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def page_headers(form_targets: Iterable[str] = ()) -> dict[str, str]:
    """Headers of a page without script and without third parties; `form_targets` are CSP sources beside our own."""
    return BASE_HEADERS | {"Content-Security-Policy": " ".join([CSP, *form_targets])}


def redirect_targets(redirect_uri: str) -> tuple[str, ...]:
    """CSP sources for a form that is answered by a redirect to `redirect_uri`.

    Chromium applies form-action to every redirect that follows a form, also to those that the DiGA adds on the way to
    its app; a refused one leaves the patient on our page although the code was issued. So any https address is
    allowed, and what `redirect_uri` itself needs beyond that.
    """
    parts = urlsplit(redirect_uri)
    match parts.scheme:
        case "https":
            return ("https:",)
        case "http":
            return ("https:", f"http://{parts.netloc}")
        case scheme:
            return ("https:", f"{scheme}:")


def error_page(scope: Scope, status: int, problem: str, headers: dict[str, str] | None = None) -> HTMLResponse:
    """A page in the patient's language about `problem`, a key of PROBLEMS; it repeats no input and never redirects.

    The response is itself an ASGI application: `await error_page(scope, 400, "bad_request")(scope, receive, send)`.
    """
    lang = language(scope)
    title, advice = (escape(words.en if lang == "en" else words.de) for words in PROBLEMS[problem])
    later = {"Retry-After": RETRY_SECONDS} if status == 503 else {}
    body = _PAGE.format(lang=lang, title=title, advice=advice, stylesheet=STYLESHEET)
    return HTMLResponse(body, status, headers=page_headers() | later | (headers or {}))
