"""GET /oauth/authorize: the browser brings a pushed request (RFC 9126 section 4; HDDT
authorization-server-authorization-endpoint.md).

Only client_id and request_uri count; every other parameter was pushed and cannot be changed here. The request stays
open until the patient decides, so a reload does no harm. A request without anything that the DiGA may still read goes
back to it at once: there would be nothing to decide.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ddr.fhir.outages import HEADER, Outage
from ddr.http.asgi import Scope, header
from ddr.http.core import Core
from ddr.http.exchange import answered_error, concerns
from ddr.http.pages import PROBLEMS, error_page
from ddr.oauth.errors import NO_STORE, RETRY_SECONDS, OAuthError, error_response
from ddr.oauth.parameters import query
from ddr.operations.pairing import out_of_scope, requested_mivs, turned_away
from ddr.scopes.diga import Diga
from ddr.store.authorization import par
from ddr.store.authorization.par import PushedRequest

CONSENT_PAGE = "/consent"
ENDPOINT = "/oauth/authorize"


class PageError(Exception):
    """The request cannot be trusted, so there is no redirect (RFC 6749 section 4.1.2.1); `problem` names the page."""

    def __init__(self, problem: str, error: str, status: int = 400) -> None:
        super().__init__(problem)
        self.problem = problem
        self.error = error
        self.status = status


async def endpoint(request: Request) -> Response:
    """303 to the consent page or back to the DiGA, or an error page."""
    core: Core = request.app.state.core
    try:
        client_id, request_uri = _parameters(request.scope)
        diga = _active_client(core, client_id)
        pushed = await _pushed_by_client(core, request_uri, diga)
    except PageError as error:
        return _error_response(request.scope, error)
    if not requested_mivs(core, pushed, diga):
        await _note_refusal(core, request_uri, diga, "invalid_scope")
        return RedirectResponse(out_of_scope(core, pushed), 303, NO_STORE)
    return RedirectResponse(f"{CONSENT_PAGE}?{urlencode({'request_uri': request_uri})}", 303, NO_STORE)


def _parameters(scope: Scope) -> tuple[str, str]:
    """Plain parameters without a pushed request are refused (AS-013)."""
    try:
        parameters = query(scope)
        return parameters["client_id"], parameters["request_uri"]
    except (OAuthError, KeyError):
        raise PageError("bad_request", "invalid_request") from None


def _active_client(core: Core, client_id: str) -> Diga:
    if core.registry.stale(core.clock()):
        raise PageError("unavailable", "temporarily_unavailable", 503)
    diga = core.registry.by_client_id(client_id)
    if diga is None or not diga.active:
        raise PageError("unknown_client", "invalid_client")
    return diga


async def _pushed_by_client(core: Core, request_uri: str, diga: Diga) -> PushedRequest:
    """The request must be open, pushed by this very client, and have the redirect_uri registered now (AS-018).

    A refusal is recorded once per request that was really pushed. Anybody can invent others, in the name of any DiGA;
    these are only counted for the log.
    """
    pushed = await par.load(core.pool, request_uri, core.clock())
    if pushed is None or (pushed.client_id, pushed.redirect_uri) != (diga.client_id, diga.redirect_uri):
        await _note_refusal(core, request_uri, diga, "invalid_request_uri")
        raise PageError("unknown_request", "invalid_request_uri")
    concerns(client_id=diga.client_id)
    return pushed


async def _note_refusal(core: Core, request_uri: str, diga: Diga, error: str) -> None:
    if not await turned_away(core, request_uri, diga.client_id, ENDPOINT, error):
        core.strangers.count(f"authorize.{error}", diga.client_id, core.clock())


def _error_response(scope: Scope, error: PageError) -> Response:
    """A page for a browser, JSON for all other clients (AS-032)."""
    answered_error(error.error, error.problem.replace("_", " "))
    outage = Outage.DEPENDENCY_FAILED if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    if "text/html" in (header(scope, "accept") or ""):
        return error_page(scope, error.status, error.problem, {HEADER: outage} if outage else {})
    later = {"Retry-After": str(RETRY_SECONDS)} if outage else {}
    described = PROBLEMS[error.problem].title.en
    return error_response(OAuthError(error.error, described, error.status, later, outage))
