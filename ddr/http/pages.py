"""What all pages for patients share: security headers, and a page that explains an error."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from ddr.call import refused_unless_told
from ddr.http.asgi import Scope
from ddr.http.language import LANGUAGES, Words, language, other_language, remember_language
from ddr.http.operator import Operator, operator_of

STYLESHEET = "/static/style.css"
RETRY_SECONDS = "300"  # when to retry after 503

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
    "Vary": "Accept-Language, Cookie",
}


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
            "Sie ist abgelaufen oder schon beantwortet. Was Sie erlaubt haben, sehen Sie unter „Verbindungen“. "
            "Möchten Sie die App verbinden, gehen Sie bitte zurück in die App und beginnen Sie dort noch einmal.",
            "It has expired or has already been answered. What you have allowed is shown under “Connections”. "
            "To connect the app, please go back to the app and start again there.",
        ),
    ),
    "decided_request": Problem(
        Words("Sie haben schon entschieden", "You have already decided"),
        Words(
            "Ihre Entscheidung gilt; hier ist nichts mehr zu tun. Was Sie erlaubt haben, sehen und beenden Sie unter "
            "„Verbindungen“. Sie können zurück in Ihre App gehen.",
            "Your decision stands; there is nothing left to do here. What you have allowed can be seen and ended under "
            "“Connections”. You can go back to your app.",
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
    "no_cookie": Problem(
        Words("Bitte noch einmal", "Please try again"),
        Words(
            "Ihr Browser hat kein Cookie von uns mitgeschickt. Es wurde nichts geändert. Bitte gehen Sie zurück, laden "
            "Sie die Seite neu und versuchen Sie es noch einmal. Hilft das nicht, erlauben Sie im Browser Cookies für "
            "diese Seite; ohne sie ist keine Anmeldung möglich.",
            "Your browser sent no cookie of ours. Nothing was changed. Please go back, reload the page and try again. "
            "If that does not help, allow cookies for this page in your browser; without them nobody can sign in.",
        ),
    ),
    "other_person": Problem(
        Words("Diese Seite war für jemand anderen", "This page was for somebody else"),
        Words(
            "Sie haben inzwischen eine andere Person gewählt oder sich neu angemeldet. Es wurde nichts geändert. "
            "Bitte öffnen Sie die Seite neu, und prüfen Sie oben, für wen Sie handeln.",
            "You have chosen another person or signed in again meanwhile. Nothing was changed. "
            "Please open the page again, and check at its top for whom you act.",
        ),
    ),
    "signed_out": Problem(
        Words("Sie sind nicht mehr angemeldet", "You are signed out"),
        Words(
            "Was Sie gerade abgeschickt haben, wurde nicht ausgeführt. Haben Sie zweimal gedrückt, kann schon das "
            "erste Mal gezählt haben. Bitte melden Sie sich wieder an, und prüfen Sie dort, was gilt.",
            "What you have just sent was not carried out. If you pressed twice, the first time may have counted. "
            "Please sign in again, and check there what is in effect.",
        ),
    ),
    "too_large": Problem(
        Words("Diese Datei ist zu groß", "This file is too large"),
        Words(
            "Bitte teilen Sie sie, zum Beispiel in kürzere Zeiträume.",
            "Please split it, for instance by shorter periods.",
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
    "maintenance": Problem(
        Words("Wartungsarbeiten", "Maintenance"),
        Words(
            "Wir arbeiten gerade an diesem Dienst. Es wurden keine Daten weitergegeben. "
            "Bitte versuchen Sie es später noch einmal.",
            "We are working on this service. No data was passed on. Please try again later.",
        ),
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
{colours}</head>
<body>
<main class="problem"><h1>{title}</h1><p>{advice}</p><p><a href="/me">{home}</a></p>{switch}</main>
{operator}</body>
</html>
"""


HOME = Words("Zu meinen Daten", "To my data")
OPERATOR = {
    "imprint": Words("Impressum", "Imprint"),
    "privacy": Words("Datenschutz", "Privacy"),
    "contact": Words("Kontakt", "Contact"),
}


def operator_links(operator: Operator, lang: str) -> list[tuple[str, str]]:
    """Address and title of the information about the operator, as far as it is set."""
    found = {"imprint": operator.imprint_url, "privacy": operator.privacy_url, "contact": operator.contact_url}
    return [(url, OPERATOR[name].said(lang)) for name, url in found.items() if url]


def _footer(operator: Operator, lang: str) -> str:
    links = "".join(
        f'<li><a href="{escape(url)}">{escape(name)}</a></li>' for url, name in operator_links(operator, lang)
    )
    if not (operator.name or links):
        return ""
    return f'<footer><div class="inner"><p>{escape(operator.name)}</p><ul class="links">{links}</ul></div></footer>\n'


def page_headers(form_targets: Iterable[str] = ()) -> dict[str, str]:
    """Headers of a page without scripts and third parties; `form_targets` are CSP sources in addition to our own."""
    return BASE_HEADERS | {"Content-Security-Policy": " ".join([CSP, *form_targets])}


def redirect_targets(redirect_uri: str) -> tuple[str, ...]:
    """CSP sources for a form that is answered by a redirect to `redirect_uri`.

    Chromium applies form-action to every redirect that follows a form, including those that the DiGA adds on the way to
    its app. A blocked one would leave the patient on our page although the code was issued. So any https address is
    allowed, and what `redirect_uri` itself needs beyond that.
    """
    parts = urlsplit(redirect_uri)
    match parts.scheme:
        case "https":
            return ("https:",)
        case "http":
            return ("https:", _http_source(parts.hostname, parts.port))
        case scheme:
            return ("https:", f"{scheme}:")


def _http_source(host: str | None, port: int | None) -> str:
    """A source with host and port alone; no other part of an address can widen the policy."""
    name = f"[{host}]" if host and ":" in host else host
    return f"http://{name}:{port}" if port else f"http://{name}"


def error_page(scope: Scope, status: int, problem: str, headers: dict[str, str] | None = None) -> HTMLResponse:
    """A page in the patient's language about `problem`, a key of PROBLEMS; it repeats no input and never redirects.

    The response is itself an ASGI application: `await error_page(scope, 400, "bad_request")(scope, receive, send)`.
    """
    if status >= 400:
        refused_unless_told(problem)
    lang, operator = language(scope), operator_of(scope)
    title, advice = (escape(words.said(lang)) for words in PROBLEMS[problem])
    later = {"Retry-After": RETRY_SECONDS} if status == 503 else {}
    body = _PAGE.format(
        lang=lang,
        title=title,
        advice=advice,
        stylesheet=STYLESHEET,
        colours=f'<link rel="stylesheet" href="{operator.colours}">\n' if operator.colours else "",
        home=HOME.said(lang),
        switch=_switch(scope, lang),
        operator=_footer(operator, lang),
    )
    response = HTMLResponse(body, status, headers=page_headers() | later | (headers or {}))
    remember_language(scope, response)
    return response


def _switch(scope: Scope, lang: str) -> str:
    """A link to the same page without its query, which may come from anybody. There is none after a form."""
    if scope.get("method") not in ("GET", "HEAD"):
        return ""
    other = other_language(lang)
    return f'<p><a href="?lang={other}" lang="{other}" hreflang="{other}">{LANGUAGES[other]}</a></p>'
