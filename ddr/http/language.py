"""The language of the pages for patients: texts in both languages, and which one a browser gets."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.responses import Response

from ddr.http.asgi import Scope, cookie, header

LANGUAGE_COOKIE = "__Host-language"
LANGUAGES = {"de": "Deutsch", "en": "English"}


class Words(NamedTuple):
    """One text in both languages."""

    de: str
    en: str

    def said(self, lang: str) -> str:
        """The text in `lang`, "de" or "en"."""
        return self.en if lang == "en" else self.de


def chosen_language(scope: Scope) -> str | None:
    """The language chosen by the page's switch: `lang` of the query; None without one."""
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
    return next((value for name, value in query if name == "lang" and value in LANGUAGES), None)


def other_language(lang: str) -> str:
    """The other language in which a page in `lang` exists."""
    return "de" if lang == "en" else "en"


def remember_language(scope: Scope, response: Response) -> None:
    """Let the browser remember the language that was just chosen, if one was."""
    if chosen := chosen_language(scope):
        response.set_cookie(LANGUAGE_COOKIE, chosen, 31_536_000, path="/", secure=True, httponly=True, samesite="lax")


def language(scope: Scope) -> str:
    """'de' or 'en': as chosen now, as chosen before, else as the browser prefers (RFC 9110 section 12.5.4)."""
    for chosen in (chosen_language(scope), cookie(scope, LANGUAGE_COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    weights = dict.fromkeys(LANGUAGES, 0.0)
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
