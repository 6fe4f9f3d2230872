"""GET /me/representation: what representation is, who represents this patient, and whom this login represents."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ddr.patient_pages.render import page
from ddr.patient_pages.visitor import Visitor, core_of, moment
from ddr.store.authorization.representations import choices, of_patient
from ddr.store.patients.sessions import Session


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The explanation, and both lists."""
    core = core_of(request)
    return page(
        request,
        visitor,
        "representation.html",
        years=core.settings.majority_years,
        by=await of_patient(core.pool, session.patient_id),
        people=await choices(core.pool, session.login_id, moment(core)),
    )
