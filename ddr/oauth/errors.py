"""OAuth errors: one exception, its JSON form (RFC 6749 section 5.2), the texts that HDDT error-codes.md recommends."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from ddr.call import refused_unless_told
from ddr.fhir.outages import HEADER, MEMBER, Outage
from ddr.http.exchange import answered_error, request_id
from ddr.ratelimit import PUSHED_REQUESTS, limited

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
RETRY_SECONDS = 60


class OAuthError(Exception):
    """A refusal on the wire. `description` is public: it names the rule, never anything that may be secret."""

    def __init__(
        self,
        error: str,
        description: str,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
        outage: Outage | None = None,
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.headers = dict(headers or {}) | ({HEADER: outage} if outage else {})
        self.outage = outage


def invalid_request(description: str) -> OAuthError:
    """A parameter is missing, repeated, oversized or malformed."""
    return OAuthError("invalid_request", description)


def invalid_client() -> OAuthError:
    """The same answer for an unknown, an inactive and a mismatching client, so that clients cannot be enumerated."""
    return OAuthError(
        "invalid_client", "The authenticated client is not registered or not active in the DiGA directory", 401
    )


def invalid_grant(description: str) -> OAuthError:
    """The code or refresh token cannot be used (any more)."""
    return OAuthError("invalid_grant", description)


def malformed_scope(reason: str) -> OAuthError:
    """A scope that is not in the HDDT SMART format, or of no MIV that is served; `reason` says which."""
    return OAuthError("invalid_scope", f"The requested scope is malformed or unknown: {reason}")


def excessive_scope(scope: str) -> OAuthError:
    """`scope`, the first one beyond the DiGA-VZ entry, or beyond what the patient granted."""
    return OAuthError("invalid_scope", f"The requested scope exceeds the scope granted to the client: {scope}")


def unauthorized_client() -> OAuthError:
    """A grant type that no DiGA may use."""
    return OAuthError("unauthorized_client", "The client is not authorized to use this authorization grant type")


def temporarily_unavailable() -> OAuthError:
    """The DiGA-VZ data is too old to decide (HDDT security-and-privacy.md, Caching)."""
    return OAuthError(
        "temporarily_unavailable",
        "The DiGA directory cannot be reached at the moment",
        503,
        {"Retry-After": str(RETRY_SECONDS)},
        Outage.DEPENDENCY_FAILED,
    )


def too_many_requests(retry_seconds: int, most: int) -> OAuthError:
    """The client has `most` pushed requests open, which is too many (RFC 9126 section 2.3)."""
    return OAuthError(
        "temporarily_unavailable",
        "Too many pushed authorization requests are open",
        429,
        {"Retry-After": str(max(1, retry_seconds))} | limited(PUSHED_REQUESTS, retry_seconds, most),
    )


def error_response(error: OAuthError) -> JSONResponse:
    """`error` as application/json, never cached; operators find it by its `request_id`."""
    refused_unless_told(error.error)
    answered_error(error.error, error.description)
    told = {"error": error.error, "error_description": error.description}
    why = {MEMBER: error.outage} if error.outage else {}
    found_by = {"request_id": request} if (request := request_id()) else {}
    return JSONResponse(told | why | found_by, error.status, NO_STORE | error.headers)
