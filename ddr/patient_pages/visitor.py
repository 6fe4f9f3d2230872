"""Who uses the browser: the session cookie, and forms that only our own pages can have sent."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ddr.fhir.negotiation import FORM
from ddr.http.asgi import cookie as cookie_of
from ddr.http.asgi import media_type
from ddr.http.body import BodyError, read_body
from ddr.http.core import Core
from ddr.http.language import remember_language
from ddr.http.pages import error_page, page_headers
from ddr.store.audit.acting import ACTING, RightOver
from ddr.store.database.rights import Moment
from ddr.store.patients.sessions import Session, close_session, load_session, new_cookie, open_session

COOKIE = "__Host-ddr"  # with this prefix browsers insist on Secure, Path=/ and no Domain
FORM_BYTES = 16_384


class Refused(Exception):
    """The request is answered by an error page: HTTP status and key of ddr.http.pages.PROBLEMS."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status, self.problem = status, problem


class FormRefused(Refused):
    """The form is malformed, stale, or was sent by another site; or it arrived too slowly.

    `form` is one in which only the token is wrong. Another site may have sent it, so it may do no more than a GET.
    """

    form: Form | None = None

    def __init__(self, status: int = 403, problem: str = "form_expired") -> None:
        super().__init__(status, problem)


@dataclass(frozen=True)
class Form:
    """The fields of a form, in order."""

    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Every value of `name`."""
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str:
        """The only value of `name`, or "" when it is absent. Raises FormRefused when it is repeated."""
        values = self.all(name)
        if len(values) > 1:
            raise FormRefused
        return values[0] if values else ""


@dataclass(frozen=True)
class Visitor:
    """One browser. `cookie` also exists before login, so that the login form is protected as well."""

    cookie: str
    is_new: bool
    session: Session | None

    @property
    def form_token(self) -> str:
        """What every form carries: a hash of the cookie, which no other site can read (CSRF)."""
        return hmac.digest(self.cookie.encode(), b"form", "sha256").hex()


def core_of(request: Request) -> Core:
    core: Core = request.app.state.core
    return core


async def identify(request: Request) -> Visitor:
    """The visitor of this request; without a cookie a new, unknown one.

    Everything that the request does from here on is done in the name of the person acting in this session.
    """
    cookie = cookie_of(request.scope, COOKIE)
    if not cookie:
        return Visitor(new_cookie(), True, None)
    core = core_of(request)
    session = await load_session(core.pool, cookie, moment(core), core.settings.session_seconds * 1000)
    ACTING.set(session.acting if session else None)
    return Visitor(cookie, False, session)


def moment(core: Core) -> Moment:
    """The present instant, as it counts for the rights of representatives."""
    return Moment.at(core.clock(), core.settings)


async def read_form(request: Request, visitor: Visitor) -> Form:
    """The posted form. Raises FormRefused unless it is ours: right type, right token, and not sent by another site."""
    form = await form_of(request)
    check_site(request)
    try:
        check_token(form.one("form_token"), visitor)
    except FormRefused as refused:
        refused.form = form
        raise
    return form


async def form_of(request: Request) -> Form:
    """The posted form, whoever sent it. Raises FormRefused unless it is a form."""
    if media_type(request.scope) != FORM:
        raise FormRefused
    return Form(_fields(await _body(request)))


def check_site(request: Request) -> None:
    """Raises FormRefused when another site has sent the request."""
    # With Referrer-Policy no-referrer browsers send "Origin: null", so Sec-Fetch-Site is checked instead.
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise FormRefused


def check_token(token: str, visitor: Visitor) -> None:
    """Raises FormRefused unless a form with this token was made for this visitor, in this session.

    A session about another patient has another cookie, so that forms made for one person are not accepted for another.
    """
    if not hmac.compare_digest(token.encode(), visitor.form_token.encode()):
        if visitor.is_new:
            raise FormRefused(problem="no_cookie")
        raise FormRefused(problem="other_person" if visitor.session and visitor.session.represents else "form_expired")


async def _body(request: Request) -> bytes:
    try:
        return await read_body(request.scope, request.receive, FORM_BYTES)
    except BodyError as error:
        if error.status == HTTPStatus.REQUEST_TIMEOUT:
            raise FormRefused(error.status, "too_slow") from None
        raise FormRefused from None


def _fields(body: bytes) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise FormRefused from None


def set_cookie(response: Response, cookie: str) -> None:
    """Set the session cookie; the browser drops it when it closes, the server ends the session after idle time."""
    response.set_cookie(COOKIE, cookie, path="/", secure=True, httponly=True, samesite="lax")


def drop_cookie(response: Response) -> None:
    """Make the browser forget its cookie."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")


def see_other(location: str) -> Response:
    """303: the browser continues with GET, so that a reload does not send a form again."""
    return RedirectResponse(location, 303, headers=page_headers())


async def enter(request: Request, visitor: Visitor, session: Session, goal: str) -> Response:
    """Log `session` in and redirect to `goal`. A new session has a new cookie and ends the previous one."""
    return entered(await begin(core_of(request), visitor, session), goal)


async def begin(core: Core, visitor: Visitor, session: Session) -> str:
    """Log `session` in and return its new cookie. The previous session ends."""
    if visitor.session:
        await close_session(core.pool, visitor.cookie)
    return await open_session(core.pool, session, core.clock())


def entered(cookie: str, goal: str) -> Response:
    """Redirect to `goal` with the cookie of a new session."""
    response = see_other(goal)
    set_cookie(response, cookie)
    return response


Endpoint = Callable[[Request], Awaitable[Response]]
PatientEndpoint = Callable[[Request, Visitor, Session], Awaitable[Response]]


def for_patients(endpoint: PatientEndpoint, otherwise: Endpoint | None = None) -> Endpoint:
    """Wrap a page that needs a patient: anybody else is redirected to the login, or answered by `otherwise`."""

    async def guarded(request: Request) -> Response:
        visitor = await identify(request)
        if visitor.session is None:
            return await otherwise(request) if otherwise else signed_out(request)
        return await endpoint(request, visitor, visitor.session)

    return guarded


def signed_out(request: Request) -> Response:
    """Redirect to the login; a user who has posted a form is told that nothing was done.

    Otherwise a provider that remembers the patient would lead on to the pages as if it had been done. A patient who
    deletes everything and presses twice would then become a new patient.
    """
    if request.method == "POST":
        return error_page(request.scope, HTTPStatus.FORBIDDEN, "signed_out")
    response = see_other("/login")
    remember_language(request.scope, response)
    return response


async def right_over(request: Request, error: Exception) -> Response:
    """The response to RightOver: nothing was done, and the session has ended with the right."""
    assert isinstance(error, RightOver)
    return signed_out(request)


async def refused(request: Request, error: Exception) -> Response:
    """The response to Refused. It never redirects: whoever is behind a redirect_uri may not be trusted now."""
    assert isinstance(error, Refused)
    return error_page(request.scope, error.status, error.problem)
