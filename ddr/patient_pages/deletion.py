"""GET and POST /me/delete: patients delete everything stored about them, after authenticating again."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from ddr.durations import MINUTE_MS
from ddr.http.address import client_network
from ddr.http.core import Core
from ddr.http.language import language
from ddr.patient_pages import known_browser
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.visitor import Form, Visitor, core_of, drop_cookie, identify, read_form, see_other
from ddr.store.database.faults import FAULTS
from ddr.store.database.settling import was_committed
from ddr.store.patients.accounts import LONGEST, verify
from ddr.store.patients.erasure import delete_patient, is_gone
from ddr.store.patients.login_attempts import count_attempt, forgive
from ddr.store.patients.sessions import Session

CONFIRMED_MS = 5 * MINUTE_MS  # how long a new login at the provider is valid


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The page that says what will be deleted, with the form."""
    return _page(request, visitor, session)


async def submit(request: Request, visitor: Visitor, session: Session) -> Response:
    """Delete everything, and log out everywhere."""
    form, core = await read_form(request, visitor), core_of(request)
    if not session.decides_for_good:
        return _page(request, visitor, session, 403)
    if core.identity:
        if not _confirmed(core, session):
            return _page(request, visitor, session, 422, error="deletion.confirm_first")
    elif error := await _wrong_password(request, core, session, form):
        return _page(request, visitor, session, 422, error=error)
    try:
        await delete_patient(core.pool, session.patient_id, core.clock())
    except FAULTS as error:  # "try again" would be useless: a deleted patient could not, and would not know
        if not await was_committed(error, partial(is_gone, core.pool, session.patient_id)):
            raise
    response = see_other("/deleted?represented" if session.acting else "/deleted")
    drop_cookie(response)
    return response


async def done(request: Request) -> Response:
    """GET /deleted: confirms the deletion to a user who is logged out; one who is logged in has deleted nothing."""
    visitor = await identify(request)
    if visitor.session:
        return see_other("/me")
    return page(request, visitor, "deleted.html", represented="represented" in request.query_params)


def _confirmed(core: Core, session: Session) -> bool:
    return session.confirmed_ms is not None and core.clock() < session.confirmed_ms + CONFIRMED_MS


async def _wrong_password(request: Request, core: Core, session: Session, form: Form) -> str:
    """The error to show, or "" for the right password. Attempts count like login attempts."""
    device = known_browser.device_of(request, core.secrets[known_browser.SECRET], session.username)
    attempt = await count_attempt(core.pool, session.username, device, client_network(request.scope), core.clock())
    password = form.one("password")[: LONGEST + 1]
    if not attempt.asked or await verify(core.pool, session.username, password) != session.login_id:
        return "deletion.wait" if attempt.wait_seconds else "deletion.wrong"
    await forgive(core.pool, attempt)
    return ""


def _page(request: Request, visitor: Visitor, session: Session, status: int = 200, error: str = "") -> Response:
    core = core_of(request)
    return page(
        request,
        visitor,
        "deletion.html",
        status=status,
        at_provider=core.identity is not None,
        confirmed=_confirmed(core, session),
        allowed=session.decides_for_good,
        people=session.represents and not session.acting,
        error=error and text(language(request.scope), error),
    )
