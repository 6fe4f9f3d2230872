"""GET /login, /login/confirm and /login/callback: patients log in at the manufacturer's OpenID provider (AS-016).

The provider handles second factors and account recovery; the recorder never sees a password.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ddr.call import refused_unless_told
from ddr.fhir.outages import HEADER, Outage
from ddr.http.core import Core
from ddr.http.language import language
from ddr.http.pages import RETRY_SECONDS, error_page
from ddr.identity.errors import LoginRefused, ProviderUnavailable
from ddr.identity.journey import SECRET, on_the_way, set_out, way_back, way_out
from ddr.identity.provider import Provider
from ddr.identity.tokens import Identity
from ddr.patient_pages.arrival import first_page
from ddr.patient_pages.relations import follow_provider
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.visitor import Visitor, begin, core_of, entered, identify, see_other, set_cookie
from ddr.store.patients import identities, journeys, logouts
from ddr.store.patients.journeys import Journey
from ddr.store.patients.sessions import Session, close_session

LONGEST_REQUEST_URI = 512
CONFIRMED = "/me/delete"  # the one page that asks for a new login
ASKS = "asks"  # in the query of the login: the provider must ask for the login even if it remembers one
AWAY = {"Retry-After": RETRY_SECONDS, HEADER: str(Outage.DEPENDENCY_FAILED)}

log = logging.getLogger(__name__)


async def show(request: Request) -> Response:
    """Redirect to the provider at once; after a logout, a page that says so."""
    visitor = await identify(request)
    if "bye" in request.query_params:
        notice = "" if visitor.session else "login.logged_out"
        return _page(request, visitor, _request_uri(request, "state"), notice=notice)
    return await _depart(request, visitor, _request_uri(request, "request_uri"), asks=ASKS in request.query_params)


def _request_uri(request: Request, parameter: str) -> str:
    """The name of the DiGA's request if it is short and printable; whether it exists is checked after the login."""
    text = request.query_params.get(parameter, "")
    return text if len(text) <= LONGEST_REQUEST_URI and text.isprintable() else ""


async def confirm(request: Request, visitor: Visitor, _: Session) -> Response:
    """Redirect to the provider, which has to ask the patient to log in again."""
    return await _depart(request, visitor, "", confirms=True)


async def callback(request: Request) -> Response:
    """The browser has returned: start a new session with a new cookie if the provider proves the user's identity."""
    visitor, core = await identify(request), core_of(request)
    answer = dict(request.query_params)
    state = answer.get("state", "")
    journey, waiting = on_the_way(core.secrets[SECRET], visitor.cookie, state, core.clock())
    if journey is None or await journeys.is_used(core.pool, journey):
        return _lost(request, visitor, waiting)
    provider = _provider(core)
    try:
        identity = await way_back(provider, journey, answer, core.settings.public_base_url, core.clock())
        if not await journeys.use_up(core.pool, journey):
            return _lost(request, visitor, waiting)
        session = await _session(core, provider, visitor, identity, journey)
        cookie = await _begin(core, provider, visitor, session, identity)
    except LoginRefused as refusal:
        log.warning("login.refused", extra={"check": str(refusal)})
        return _page(request, visitor, journey.request_uri, 400, error="login.refused", asks=True)
    except ProviderUnavailable:  # as `unavailable`, but this URL works only once: the page leads to a new login
        refused_unless_told("login_unavailable")
        return _page(request, visitor, journey.request_uri, 503, error="login.unavailable", headers=AWAY)
    goal = CONFIRMED if journey.confirms else await first_page(core, session.login_id, journey.request_uri)
    return entered(cookie, goal)


async def unavailable(request: Request, _: Exception) -> Response:
    """The response to ProviderUnavailable."""
    return error_page(request.scope, 503, "login_unavailable", AWAY)


def _provider(core: Core) -> Provider:
    assert core.identity is not None
    return core.identity


async def _depart(
    request: Request, visitor: Visitor, request_uri: str, *, confirms: bool = False, asks: bool = False
) -> Response:
    core = core_of(request)
    journey = set_out(core.secrets[SECRET], visitor.cookie, request_uri, confirms, core.clock())
    base_url, lang = core.settings.public_base_url, language(request.scope)
    location = await way_out(_provider(core), journey, base_url, lang, asks=asks)
    response = see_other(location)
    if visitor.is_new:
        set_cookie(response, visitor.cookie)
    return response


async def _session(core: Core, provider: Provider, visitor: Visitor, identity: Identity, journey: Journey) -> Session:
    """The session that begins. A confirmation must come from the user who is already logged in.

    A confirmation is a login, too: it confirms nothing for a person whom, according to the provider, this user no
    longer represents.
    """
    now_ms, sid = core.clock(), logouts.sid_digest(provider.issuer, identity.sid)
    if not journey.confirms:
        patient_id = await identities.patient_of(core.pool, provider.issuer, identity.subject, now_ms)
        if patient_id is None:
            raise LoginRefused("account disabled")
        session = Session(patient_id, identity.username, provider_sid_sha256=sid)
    else:
        known = await identities.find(core.pool, provider.issuer, identity.subject)
        if visitor.session is None or visitor.session.login_id != known:
            raise LoginRefused("another user")
        session = replace(visitor.session, username=identity.username, confirmed_ms=now_ms, provider_sid_sha256=sid)
    if identity.represents is not None:
        await follow_provider(core, provider.issuer, session.login_id, identity)
    return session


async def _begin(core: Core, provider: Provider, visitor: Visitor, session: Session, identity: Identity) -> str:
    """Begin the session and return its cookie. Raises LoginRefused when the provider has ended this login meanwhile."""
    cookie = await begin(core, visitor, session)
    if await logouts.ended(core.pool, provider.issuer, identity.subject, identity.sid, identity.issued_ms):
        await close_session(core.pool, cookie)
        raise LoginRefused("ended meanwhile")
    return cookie


def _lost(request: Request, visitor: Visitor, waiting: str) -> Response:
    """The login was lost, but its DiGA still waits: the next login continues with its request."""
    return _page(request, visitor, waiting, 400, error="login.no_cookie" if visitor.is_new else "login.lost")


def _page(
    request: Request,
    visitor: Visitor,
    request_uri: str,
    status: int = 200,
    *,
    error: str = "",
    notice: str = "",
    headers: dict[str, str] | None = None,
    asks: bool = False,
) -> Response:
    """`asks`: the next try must ask for the login, so that another account can be used."""
    lang = language(request.scope)
    onward = {"request_uri": request_uri} if request_uri else {}
    onward |= {ASKS: "1"} if asks or ASKS in request.query_params else {}
    return page(
        request,
        visitor,
        "provider_login.html",
        status=status,
        headers=headers,
        target=f"/login?{urlencode(onward)}" if onward else "/login",
        error=error and text(lang, error),
        notice=notice and text(lang, notice),
    )
