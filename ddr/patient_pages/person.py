"""GET and POST /me/person: whose data this is about, for a login that represents others (docs/representatives.md).

The names on this page are those known to the account. None of them goes to a DiGA.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from ddr.patient_pages.arrival import PERSON, onward, with_request
from ddr.patient_pages.dates import ZONE
from ddr.patient_pages.login import waiting_diga
from ddr.patient_pages.render import page
from ddr.patient_pages.visitor import (
    FormRefused,
    Visitor,
    core_of,
    form_of,
    moment,
    read_form,
    see_other,
    set_cookie,
)
from ddr.series.days import midnight
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.representations import Representation, choices
from ddr.store.patients.sessions import MYSELF, Session, turn_to


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The people who can be chosen; a redirect to the goal when there is no choice."""
    core, request_uri = core_of(request), request.query_params.get("request_uri", "")
    if not session.represents:
        return see_other(onward(request_uri))
    people = await choices(core.pool, session.login_id, moment(core))
    names = Counter(one.terms.name for one in people)
    return page(
        request,
        visitor,
        "person.html",
        form_targets=("https:",) if core.identity else (),  # for the provider's login (`login_first`)
        diga=await waiting_diga(core, request_uri),
        action=with_request(PERSON, request_uri),
        request_uri=request_uri,
        myself=MYSELF,
        people=people,
        alike={name for name, count in names.items() if count > 1},
        midnight=partial(midnight, zone=ZONE),
    )


async def choose(request: Request, visitor: Visitor, session: Session) -> Response:
    """The session is about this person from now on; the person's trail records that a representative entered."""
    core = core_of(request)
    try:
        form = await read_form(request, visitor)
    except FormRefused as refused:
        if refused.form is None or refused.form.one("person") != session.person:
            raise
        return see_other(onward(refused.form.one("request_uri")))  # pressed twice: already done
    request_uri, chosen = form.one("request_uri"), await _right(request, session, form.one("person"))
    patient_id, acting = (chosen.patient_id, chosen.acting(moment(core))) if chosen else (session.login_id, None)
    cookie = await turn_to(core.pool, visitor.cookie, patient_id, acting, request_uri)
    if cookie is None:
        raise FormRefused(problem="other_person")
    if acting and acting != session.acting:
        detail, now_ms = acting.detail, core.clock()
        await record(core.pool, Event.REPRESENTATIVE_ENTERED, now_ms, patient_id=patient_id, detail=detail)
    response = see_other(onward(request_uri))
    set_cookie(response, cookie)
    return response


async def login_first(request: Request) -> Response:
    """POST /me/person without a session: redirect to the login, then back to the choice with the DiGA's request.

    A choice changes the session's cookie. A user who presses twice before the response arrives sends the second form
    with the old cookie, which is invalid by then, and never sees the first response.
    """
    return see_other(with_request("/login", (await form_of(request)).one("request_uri")))


async def _right(request: Request, session: Session, person: str) -> Representation | None:
    """The right of this login that the form names; None for the login's own data. Raises FormRefused."""
    if person == MYSELF:
        return None
    core = core_of(request)
    for one in await choices(core.pool, session.login_id, moment(core)):
        if str(one.representation_id) == person:
            return one
    raise FormRefused(problem="other_person")
