"""Parameters of OAuth requests: each at most once; those that are used must be printable and bounded (RFC 6749 sections
3.1, 3.2 and appendix A).

Codes, tokens, verifiers and scopes may be anything: whoever reads them knows the only form that they can have, and has
an error of its own for every other, or none at all (RFC 6749 section 5.2; RFC 7009 section 2.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from ddr.fhir.negotiation import FORM
from ddr.http.asgi import Receive, Scope, media_type
from ddr.http.body import BodyError, read_body
from ddr.oauth.errors import OAuthError, invalid_request

MAX_FIELDS = 50
MAX_LENGTH = 4096
# The other parameters whose values are used. Those that are unknown must be ignored, whatever they say (sections 3.1
# and 3.2).
READ = frozenset(
    {
        "client_id",
        "response_type",
        "response_mode",
        "redirect_uri",
        "state",
        "code_challenge",
        "code_challenge_method",
        "request_uri",
        "grant_type",
    }
)


async def form(scope: Scope, receive: Receive, limit: int) -> dict[str, str]:
    """The parameters of a form body of at most `limit` bytes. Raises OAuthError invalid_request, 413 when too large."""
    if media_type(scope) != FORM:
        raise invalid_request(f"Content-Type must be {FORM}")
    try:
        body = await read_body(scope, receive, limit)
    except BodyError as error:
        raise OAuthError("invalid_request", str(error), error.status, dict(error.headers)) from None
    return _parse(body)


def query(scope: Scope) -> dict[str, str]:
    """The parameters of the query. Raises OAuthError invalid_request."""
    return _parse(scope["query_string"])


def required(parameters: Mapping[str, str], name: str) -> str:
    """The value of `name`. Raises OAuthError invalid_request when it is missing."""
    if name not in parameters:
        raise invalid_request(f"Parameter {name} is missing")
    return parameters[name]


def _parse(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise invalid_request("The parameters are malformed or too many") from None
    return _unique(pairs)


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A repeated parameter is refused, not resolved: two readers could pick different ones. An empty one is absent."""
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name in parameters:
            raise invalid_request("A parameter is repeated")
        if name in READ and (len(value) > MAX_LENGTH or not (value.isascii() and value.isprintable())):
            raise invalid_request("A parameter is too long or contains characters that are not allowed")
        parameters[name] = value
    return {name: value for name, value in parameters.items() if value}
