"""POST /login/ended: the OpenID provider ends logins, from its server to ours (OpenID Connect Back-Channel Logout 1.0).

Only the token's signature proves who sends the request; anything that it does not prove changes nothing.
"""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ddr.call import refused
from ddr.fhir.outages import HEADER, Outage
from ddr.http.pages import RETRY_SECONDS
from ddr.identity.errors import LoginRefused, ProviderUnavailable
from ddr.identity.logout import read_logout_token
from ddr.patient_pages.visitor import FormRefused, core_of, form_of
from ddr.store.patients import logouts

PATH = "/login/ended"
NO_STORE = {"Cache-Control": "no-store"}

log = logging.getLogger(__name__)


async def submit(request: Request) -> Response:
    """Check `logout_token` and end its sessions: 200; 400 if it is not such a token, 503 while the keys are unknown."""
    core = core_of(request)
    assert core.identity is not None
    try:
        token = (await form_of(request)).one("logout_token")
        logout = await read_logout_token(core.identity, token, core.clock())
        if (count := await logouts.carry_out(core.pool, logout, core.clock())) is None:
            raise LoginRefused("replay")
    except FormRefused as refusal:
        return _no(refusal.status if refusal.status != 403 else 400, "form")
    except LoginRefused as refusal:
        return _no(400, str(refusal))
    except ProviderUnavailable:
        headers = {"Retry-After": RETRY_SECONDS, HEADER: str(Outage.DEPENDENCY_FAILED), **NO_STORE}
        return JSONResponse({"error": "temporarily_unavailable"}, 503, headers)
    log.info("logout.by_provider", extra={"count": count})
    return Response(headers=NO_STORE)


def _no(status: int, check: str) -> Response:
    """Section 2.8: the error as JSON."""
    refused("logout_token")
    log.warning("logout.refused", extra={"check": check})
    content = {"error": "invalid_request", "error_description": f"The logout token did not pass a check: {check}"}
    return JSONResponse(content, status, NO_STORE)
