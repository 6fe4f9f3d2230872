"""GET and POST /me/access: the patient's audit trail in plain words (AUD-005).

A day is chosen by POST, and the entries up to its end are shown under an opaque URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TypeVar

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.http.language import language
from ddr.http.pages import error_page
from ddr.patient_pages.dates import UNREADABLE, ZONE, day, written_day
from ddr.patient_pages.names import app_name, titles_of
from ddr.patient_pages.render import marked, page
from ddr.patient_pages.texts import TEXTS, text
from ddr.patient_pages.texts.reasons import reason, refusal
from ddr.patient_pages.texts.representation import somebody
from ddr.patient_pages.visitor import Visitor, core_of, read_form, see_other
from ddr.scopes.parse import granted
from ddr.series.days import midnight
from ddr.store.audit.patients import NEWEST, before, newest_before
from ddr.store.database.ids import Kind
from ddr.store.database.pool import Row
from ddr.store.patients.sessions import Session

PAGE = 500  # entries read at once; a DiGA that reads every quarter of an hour makes about a hundred a day
NOTHING_SO_EARLY = "nothing-so-early"  # in the query after a day that is earlier than all entries
ERRORS = {UNREADABLE: "data.day_error", NOTHING_SO_EARLY: "access.nothing_so_early"}
T = TypeVar("T", str, Markup)


@dataclass(frozen=True)
class Happening:
    """What happened once or several times on one day; `times` newest first."""

    words: Markup
    times: tuple[int, ...]


@dataclass(frozen=True)
class Day:
    """One day of the trail."""

    name: str
    happenings: tuple[Happening, ...]


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """One page of the trail, newest first; `before` is an opaque reference to where the previous page ended."""
    core, lang = await core_of(request).reading(), language(request.scope)
    place = _place(core, request.query_params.get("before"))
    if place is None:
        return error_page(request.scope, 404, "not_found")
    rows = await before(core.pool, session.patient_id, place[0], PAGE + 1, place[1])
    shown = rows[:PAGE]
    return page(
        request,
        visitor,
        "access.html",
        days=_days(core, shown, lang),
        newest=place[0] == NEWEST,
        older=core.ids.encode(Kind.AUDIT, shown[-1]["audit_no"], shown[-1]["day"]) if len(rows) > PAGE else "",
        error=next((text(lang, name) for told, name in ERRORS.items() if told in request.query_params), ""),
    )


async def choose(request: Request, visitor: Visitor, session: Session) -> Response:
    """Redirect to the entries up to the end of a day."""
    chosen = written_day((await read_form(request, visitor)).one("day"))
    if chosen is None:
        return see_other(f"/me/access?{UNREADABLE}")
    core = await core_of(request).reading()
    last = await newest_before(core.pool, session.patient_id, midnight(chosen + timedelta(days=1), ZONE))
    if last is None:
        return see_other(f"/me/access?{NOTHING_SO_EARLY}")
    return see_other(f"/me/access?before={core.ids.encode(Kind.AUDIT, last['audit_no'] + 1, last['day'])}")


def _place(core: Core, older: str | None) -> tuple[int, int] | None:
    """Number and day of the entry where a page ended."""
    if older is None:
        return NEWEST, 0
    decoded = core.ids.decode(older)
    return decoded[1:] if decoded and decoded[0] is Kind.AUDIT else None


def _days(core: Core, rows: Iterable[Row], lang: str) -> list[Day]:
    by_day = groupby(rows, key=lambda row: day(lang, row["at_ms"]))
    return [Day(name, _happenings(core, entries, lang)) for name, entries in by_day]


def _happenings(core: Core, rows: Iterable[Row], lang: str) -> tuple[Happening, ...]:
    times: dict[Markup, list[int]] = {}
    for row in rows:
        times.setdefault(words(core, row, lang, marked), []).append(row["at_ms"])
    return tuple(Happening(said, tuple(instants)) for said, instants in times.items())


def words(core: Core, row: Row, lang: str, say: Callable[..., T]) -> T:
    """What an entry of the trail says; `say` makes it HTML (`marked`) or a text (`text`)."""
    name, detail = f"access.{row['event']}", row["detail"]
    if detail.get("valuesets") == [] and f"{name}:nothing" in TEXTS:  # it requested only what it may not read
        name = f"{name}:nothing"
    because = refusal(lang, detail.get("reason"))
    if because and f"{name}:because" in TEXTS:
        name = f"{name}:because"
    who = somebody(lang, detail.get("by"))
    if who and f"{name}:by" in TEXTS:
        name = f"{name}:by"
    return say(
        lang,
        name if name in TEXTS else "access.other",
        app=app_name(core, row["client_id"]) or text(lang, "access.app"),
        kinds=_kinds(core, detail, lang),
        reason=reason(lang, detail.get("reason")),
        because=because,
        who=who,
        approval=detail.get("approval", ""),
        who_first=who[:1].upper() + who[1:],
    )


def _kinds(core: Core, detail: Row, lang: str) -> str:
    """The kinds of data that the entry is about, in words."""
    if detail.get("type") in ("Device", "DeviceMetric"):
        return text(lang, "access.device_details")
    return titles_of(core, _valuesets(detail), lang)


def _valuesets(detail: Row) -> Iterable[str]:
    """The MIVs that an entry names: those of a scope, those withdrawn, or those read."""
    if "scope" in detail:
        return granted(detail["scope"]).valuesets
    return [detail["valueset"]] if "valueset" in detail else detail.get("valuesets", ())
