"""The status feed as a page for people, German or English as on all pages, in the operator's frame."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from ddr.http.asgi import Reply, Scope
from ddr.http.core import Core
from ddr.http.language import LANGUAGE_COOKIE, chosen_language, language, other_language
from ddr.http.operator import Operator
from ddr.http.pages import STYLESHEET, operator_links, page_headers
from ddr.http.templates import templates
from ddr.operations.status.board import Board
from ddr.operations.status.feed import document
from ddr.operations.status.texts import DATA_OF, TEXTS

_TEMPLATES = templates(Path(__file__).parent)
YEAR_SECONDS = 31_536_000


def reply(core: Core, board: Board, scope: Scope) -> Reply:
    lang, operator = language(scope), Operator.of(core.settings)
    other = other_language(lang)
    names = {miv.name: miv.title_de if lang == "de" else miv.title for miv in core.catalog.mivs}
    text, zone = partial(_text, lang), ZoneInfo(core.settings.time_zone)
    body = _TEMPLATES.get_template("page.html").render(
        lang=lang,
        t=text,
        feed=document(core, board),
        at=partial(local_time, lang, zone),
        lasting=partial(lasting, lang, zone),
        function=partial(_function, lang, names),
        suffix="_de" if lang == "de" else "",
        stylesheet=STYLESHEET,
        colours=operator.colours,
        operator=operator,
        links=operator_links(operator, lang),
        other=other,
        switch=f"{scope['path']}?lang={other}",
    )
    headers = tuple((name.lower(), value) for name, value in page_headers().items())
    if chosen := chosen_language(scope):
        kept = f"{LANGUAGE_COOKIE}={chosen}; Max-Age={YEAR_SECONDS}; Path=/; Secure; HttpOnly; SameSite=lax"
        headers = (*headers, ("set-cookie", kept))
    return Reply(200, body.encode(), "text/html; charset=utf-8", (*headers, ("content-language", lang)))


def _text(lang: str, name: str) -> str:
    return TEXTS[name].said(lang)


def _function(lang: str, names: dict[str, str], name: str) -> str:
    """The name of a function for people."""
    _, _, miv = name.partition(":")
    if not miv:
        return _text(lang, name)
    return f"{DATA_OF.said(lang)}: {names.get(miv, miv)}"


IN_GERMAN = {"CET": "MEZ", "CEST": "MESZ", "WET": "WEZ", "WEST": "WESZ", "EET": "OEZ", "EEST": "OESZ"}


def lasting(lang: str, zone: ZoneInfo, start: str | None, end: str | None, begun: bool) -> str:
    """From when until when an event of the feed lasts, as far as that is known; `begun`: it is not yet to come."""
    times = {name: local_time(lang, zone, at) for name, at in (("start", start), ("end", end)) if at}
    match start, end:
        case None, None:
            name = "timeless"
        case None, _:
            name = "until"
        case _, None:
            name = "since" if begun else "from"
        case _:
            name = "span"
    return _text(lang, name).format(**times)


def local_time(lang: str, zone: ZoneInfo, instant: str) -> str:
    """An instant of the feed in local time, with the zone's short name."""
    local = datetime.fromisoformat(instant).astimezone(zone)
    name = local.tzname() or ""
    if lang == "en":
        return f"{local:%d %B %Y, %H:%M} {name}"
    return f"{local:%d.%m.%Y, %H:%M} Uhr {IN_GERMAN.get(name, name)}"
