"""GET and POST /me/review: after a representation has ended, the patient decides about the connections it made."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.http.language import language
from ddr.patient_pages.arrival import REVIEW, onward, with_request
from ddr.patient_pages.names import app_name
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.visitor import Visitor, core_of, moment, read_form, see_other
from ddr.store.authorization import reviews
from ddr.store.patients.sessions import Session

KEEP, WITHDRAW = "keep", "withdraw"


class Left(NamedTuple):
    """What is left to decide: DiGA by client_id, apps that send by their displayed names."""

    readers: dict[str, str]
    senders: dict[str, str]


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The connections to decide about; a redirect to the goal when there are none."""
    request_uri, core = request.query_params.get("request_uri", ""), core_of(request)
    found = await _undecided(core, session)
    return _page(request, visitor, found, request_uri) if any(found) else see_other(onward(request_uri))


async def submit(request: Request, visitor: Visitor, session: Session) -> Response:
    """Carry out the decisions, about all connections at once."""
    form, core = await read_form(request, visitor), core_of(request)
    request_uri, found = form.one("request_uri"), await _undecided(core, session)
    decided = {name: form.one(name) for name in (*found.readers, *found.senders)}
    if not decided:
        return see_other(onward(request_uri))
    if not set(decided.values()) <= {KEEP, WITHDRAW}:
        return _page(request, visitor, found, request_uri, error="representation.review_missing")
    kept = [name for name, decision in decided.items() if decision == KEEP]
    await reviews.decide(core.pool, session.patient_id, kept, moment(core))
    return see_other(onward(request_uri))


async def _undecided(core: Core, session: Session) -> Left:
    """What the patient has to decide; a representative decides nothing here."""
    if session.acting:
        return Left({}, {})
    found = await reviews.left(core.pool, session.patient_id, moment(core))
    return Left(
        {row["client_id"]: app_name(core, row["client_id"]) for row in found.pairings},
        {row["app"]: row["name"] for row in found.apps},
    )


def _page(request: Request, visitor: Visitor, found: Left, request_uri: str, error: str = "") -> Response:
    return page(
        request,
        visitor,
        "review.html",
        status=422 if error else 200,
        readers=found.readers,
        senders=found.senders,
        action=with_request(REVIEW, request_uri),
        request_uri=request_uri,
        later=onward(request_uri),
        error=error and text(language(request.scope), error),
    )
