"""GET and POST /me/data: the patient's values as curves, tables and files.

A day is chosen by POST and shown under an opaque URL, so that it can be reloaded and no URL contains a date.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from ddr.aside import aside
from ddr.fhir.cgm_summary import OPERATION
from ddr.http.core import Core
from ddr.http.language import language
from ddr.http.pages import error_page
from ddr.patient_pages.dates import UNREADABLE, ZONE, day, written_day
from ddr.patient_pages.glucose_view import DAYS, PERIODS, day_of, one_day, weeks_until
from ddr.patient_pages.numbers import rounded
from ddr.patient_pages.render import page
from ddr.patient_pages.single_values import single
from ddr.patient_pages.singles_view import last_day, trends
from ddr.patient_pages.texts import text
from ddr.patient_pages.visitor import Visitor, core_of, read_form, see_other
from ddr.series.days import midnight
from ddr.store.database.ids import Kind
from ddr.store.patients import export
from ddr.store.patients.measured import measured_between
from ddr.store.patients.sessions import Session

SINGLES = 20  # measurements on the main page
PAGE = 100  # measurements on a page of single values


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """Some weeks, one day (the latest, or the one in the URL), curves of single values, and the latest of these."""
    core, lang, patient_id = await core_of(request).reading(), language(request.scope), session.patient_id
    days = _period(request)
    miv = core.catalog.with_operation(OPERATION)  # whose readings are glucose
    measured = await measured_between(core.pool, patient_id, miv.valueset) if miv else None
    first, last = (day_of(ms) for ms in measured) if measured else (None, None)
    chosen = _named_day(core, request.path_params["place"]) if "place" in request.path_params else last
    if (chosen is None and "place" in request.path_params) or days is None:
        return error_page(request.scope, 404, "not_found")
    singles = await export.measurements_before(core.pool, patient_id, None, SINGLES + 1)
    last_single = last_day(singles, core.clock())
    written = partial(
        page,
        request,
        visitor,
        "data.html",
        weeks=await weeks_until(core, patient_id, miv, last, days, lang) if miv and last else None,
        day_view=await one_day(core, patient_id, miv, chosen, lang) if miv and chosen else None,
        chosen=chosen,
        first=first,
        last=last,
        before=_place(core, chosen - timedelta(days=1)) if chosen and first and chosen > first else "",
        after=_place(core, chosen + timedelta(days=1)) if chosen and last and chosen < last else "",
        error=text(lang, "data.day_error") if chosen and UNREADABLE in request.query_params else "",
        days=days,
        kept=_kept(days),
        periods=PERIODS,
        trends=await trends(core, patient_id, last_single, days, lang) if last_single else [],
        singles=[single(core, row, lang) for row in singles[:SINGLES]],
        more=len(singles) > SINGLES,
        date_text=lambda one: day(lang, midnight(one, ZONE)),
        number=partial(rounded, lang),
        tenths=lambda share: rounded(lang, share / 10, 1),
        printed_ms=core.clock(),
    )
    return await aside(True, written)


async def values_page(request: Request, visitor: Visitor, session: Session) -> Response:
    """GET /me/data/values: all single measurements, newest first, page by page; `before` is an opaque reference."""
    core, lang = await core_of(request).reading(), language(request.scope)
    before = request.query_params.get("before")
    decoded = core.ids.decode(before) if before is not None else None
    if before is not None and (decoded is None or decoded[0] is not Kind.MEASUREMENT):
        return error_page(request.scope, 404, "not_found")
    rows = await export.measurements_before(core.pool, session.patient_id, decoded and decoded[1], PAGE + 1)
    shown = rows[:PAGE]
    written = partial(
        page,
        request,
        visitor,
        "values.html",
        newest=before is None,
        older=core.ids.measurement(shown[-1]["measurement_no"]) if len(rows) > PAGE else "",
        printed_ms=core.clock(),
    )
    return await aside(len(shown) > SINGLES, lambda: written(singles=[single(core, row, lang) for row in shown]))


def _period(request: Request) -> int | None:
    """The number of days in the chosen period; None when it cannot be chosen."""
    chosen = request.query_params.get("days", str(DAYS))
    return int(chosen) if chosen in map(str, PERIODS) else None


async def choose(request: Request, visitor: Visitor, _: Session) -> Response:
    """Redirect to the page of a day. A browser without a date picker sends the text as typed."""
    chosen, kept = written_day((await read_form(request, visitor)).one("day")), _kept(_period(request))
    if chosen is None:
        return see_other(f"/me/data{kept}{'&' if kept else '?'}{UNREADABLE}")
    return see_other(f"/me/data/{_place(core_of(request), chosen)}{kept}")


def _kept(days: int | None) -> str:
    """The part of a URL that keeps the period, so that choosing a day does not change it."""
    return "" if days in (None, DAYS) else f"?days={days}"


def _place(core: Core, chosen: date) -> str:
    return core.ids.encode(Kind.DAY, chosen.toordinal())


def _named_day(core: Core, place: str) -> date | None:
    decoded = core.ids.decode(place)
    return date.fromordinal(decoded[1]) if decoded and decoded[0] is Kind.DAY else None
