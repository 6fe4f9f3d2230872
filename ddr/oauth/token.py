"""POST /oauth/token: two grants, each in its own file (RFC 6749; HDDT authorization-server-token-endpoint.md)."""

from __future__ import annotations

from starlette.responses import Response

from ddr.oauth.endpoint import Call, Handler
from ddr.oauth.errors import OAuthError, unauthorized_client
from ddr.oauth.grants import authorization_code, refresh_token
from ddr.oauth.parameters import required

GRANTS: dict[str, Handler] = {"authorization_code": authorization_code.exchange, "refresh_token": refresh_token.refresh}
# AS-008 forbids these by name; any other grant type is one that no DiGA is permitted to use (AS-035).
FORBIDDEN = {
    "client_credentials",
    "password",
    "implicit",
    "urn:ietf:params:oauth:grant-type:device_code",
    "device_code",
}


async def token(call: Call) -> Response:
    """The token response of the requested grant. Raises OAuthError."""
    grant_type = required(call.parameters, "grant_type")
    decisions = call.core.metrics.tokens
    try:
        if grant_type in FORBIDDEN:
            raise OAuthError("unsupported_grant_type", "The authorization grant type is not supported")
        if grant_type not in GRANTS:
            raise unauthorized_client()
        answer = await GRANTS[grant_type](call)
    except OAuthError as error:
        decisions.labels(grant_type if grant_type in GRANTS else "other", error.error).inc()
        raise
    decisions.labels(grant_type, "issued").inc()
    return answer
