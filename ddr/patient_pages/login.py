"""GET and POST /login: the built-in accounts, for demonstration and tests (AS-016).

The response to an unknown name, a wrong password, or one wrong password too many is the same whether or not the account
exists.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.address import client_network
from ddr.http.core import Core
from ddr.http.language import language
from ddr.patient_pages import known_browser
from ddr.patient_pages.arrival import first_page, with_request
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.visitor import Form, FormRefused, Visitor, core_of, enter, identify, read_form, see_other
from ddr.ratelimit import LOGINS, limited
from ddr.scopes.diga import Diga
from ddr.store.authorization import par
from ddr.store.database.names import account_name
from ddr.store.patients.accounts import LONGEST, verify
from ddr.store.patients.login_attempts import count_attempt, forgive
from ddr.store.patients.sessions import Session


async def show(request: Request) -> Response:
    """The login form; with `request_uri` it leads on to the consent page."""
    visitor = await identify(request)
    notice = "login.logged_out" if "bye" in request.query_params and visitor.session is None else ""
    return await _form(request, visitor, request.query_params.get("request_uri", ""), notice=notice)


async def submit(request: Request) -> Response:
    """Check name and password; a new session gets a new cookie."""
    visitor = await identify(request)
    try:
        form = await read_form(request, visitor)
    except FormRefused as refused:
        if refused.form is None or visitor.is_new:  # a new cookie for another site's form would end the session
            raise
        return await _of_another_tab(request, visitor, refused.form)
    request_uri = form.one("request_uri")
    username = account_name(form.one("username"))
    core = core_of(request)
    secret, network = core.secrets[known_browser.SECRET], client_network(request.scope)
    device = known_browser.device_of(request, secret, username)
    attempt = await count_attempt(core.pool, username, device, network, core.clock())
    looked_at = attempt.asked and _plausible(form)
    patient_id = await verify(core.pool, username, form.one("password")) if looked_at else None
    if patient_id is None:
        if attempt.wait_seconds:
            return await _too_many(request, visitor, request_uri, attempt.wait_seconds)
        return await _form(request, visitor, request_uri, 422, error="login.wrong")
    await forgive(core.pool, attempt)
    goal = await first_page(core, patient_id, request_uri)
    response = await enter(request, visitor, Session(patient_id, username), goal)
    known_browser.remember(request, response, secret, username)
    return response


async def _of_another_tab(request: Request, visitor: Visitor, form: Form) -> Response:
    """Continue with the session that began in another tab since this form was loaded, or show the form again.

    The password is not checked.
    """
    request_uri, session = form.one("request_uri"), visitor.session
    if session and session.username == account_name(form.one("username")):
        return see_other(await first_page(core_of(request), session.login_id, request_uri))
    return await _form(request, visitor, request_uri, 403, error="login.other_tab")


def _plausible(form: Form) -> bool:
    return len(form.one("username")) <= LONGEST and len(form.one("password")) <= LONGEST


async def _too_many(request: Request, visitor: Visitor, request_uri: str, wait_seconds: int) -> Response:
    minutes = -(-wait_seconds // 60)
    return await _form(
        request,
        visitor,
        request_uri,
        429,
        error="login.wait" if minutes > 1 else "login.wait_a_minute",
        headers={"Retry-After": str(wait_seconds), **limited(LOGINS, wait_seconds)},
        minutes=minutes,
    )


async def _form(
    request: Request,
    visitor: Visitor,
    request_uri: str,
    status: int = 200,
    *,
    error: str = "",
    notice: str = "",
    headers: dict[str, str] | None = None,
    **values: object,
) -> Response:
    lang = language(request.scope)
    return page(
        request,
        visitor,
        "login.html",
        status=status,
        headers=headers,
        diga=await waiting_diga(core_of(request), request_uri),
        action=with_request("/login", request_uri),
        request_uri=request_uri,
        error=error and text(lang, error, **values),
        notice=notice and text(lang, notice),
    )


async def waiting_diga(core: Core, request_uri: str) -> Diga | None:
    """The DiGA that waits for the decision on this request, if there is one."""
    pushed = await par.load(core.pool, request_uri, core.clock()) if request_uri else None
    return core.registry.by_client_id(pushed.client_id) if pushed else None
