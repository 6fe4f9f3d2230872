"""GET and POST /me/data: the patient's values as curves, tables and files.

A day is chosen by POST and shown under an opaque address, so that it can be reloaded and no address tells a date.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.http.pages import error_page, language
from ddr.patient_pages.dates import ZONE, day
from ddr.patient_pages.glucose_view import day_of, glucose, one_day, weeks_until
from ddr.patient_pages.numbers import rounded
from ddr.patient_pages.render import page
from ddr.patient_pages.single_values import single
from ddr.patient_pages.visitor import FormRefused, Visitor, core_of, read_form, see_other
from ddr.series.days import midnight
from ddr.store.database.ids import Kind
from ddr.store.patients import export
from ddr.store.patients.sessions import Session

SINGLES = 20  # measurements on the page
EARLIEST, LATEST = date(2000, 1, 1), date(2099, 12, 31)  # days that can be chosen


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The last two weeks, one day (the latest, or that of the address), and the latest single measurements."""
    core, lang, patient_id = core_of(request), language(request.scope), session.patient_id
    miv = glucose(core)
    measured = await export.measured_between(core.pool, patient_id, miv.valueset) if miv else None
    first, last = (day_of(ms) for ms in measured) if measured else (None, None)
    chosen = _named_day(core, request.path_params["place"]) if "place" in request.path_params else last
    if chosen is None and "place" in request.path_params:
        return error_page(request.scope, 404, "not_found")
    return page(
        request,
        visitor,
        "data.html",
        weeks=await weeks_until(core, patient_id, miv, last, lang) if miv and last else None,
        day_view=await one_day(core, patient_id, miv, chosen, lang) if miv and chosen else None,
        chosen=chosen,
        first=first,
        last=last,
        before=_place(core, chosen - timedelta(days=1)) if chosen and first and chosen > first else "",
        after=_place(core, chosen + timedelta(days=1)) if chosen and last and chosen < last else "",
        singles=[single(core, row, lang) for row in await export.latest_measurements(core.pool, patient_id, SINGLES)],
        date_text=lambda one: day(lang, midnight(one, ZONE)),
        number=partial(rounded, lang),
    )


async def choose(request: Request, visitor: Visitor, _: Session) -> Response:
    """Lead on to the page of a day."""
    form = await read_form(request, visitor)
    try:
        chosen = date.fromisoformat(form.one("day"))
    except ValueError:
        raise FormRefused from None
    return see_other(f"/me/data/{_place(core_of(request), min(max(chosen, EARLIEST), LATEST))}")


def _place(core: Core, chosen: date) -> str:
    return core.ids.encode(Kind.DAY, chosen.toordinal())


def _named_day(core: Core, place: str) -> date | None:
    decoded = core.ids.decode(place)
    return date.fromordinal(decoded[1]) if decoded and decoded[0] is Kind.DAY else None
