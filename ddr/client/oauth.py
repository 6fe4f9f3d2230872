"""Requests to the authorization server, and its errors as classes (RFC 6749 section 5.2; HDDT authorization-server)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from ddr.client.errors import PairingEnded, Refused, Throttled, Unreachable

Json = dict[str, Any]


async def metadata(http: httpx.AsyncClient, issuer: str) -> Json:
    """The server's metadata (RFC 8414); its issuer must be the one that was asked. Raises Unreachable, Refused."""
    found = _read(await ask(http, "GET", f"{issuer}/.well-known/oauth-authorization-server"))
    if found.get("issuer") != issuer:
        raise Refused(200, "issuer", "the metadata is of another issuer")
    return found


async def post(http: httpx.AsyncClient, url: str, form: Mapping[str, str]) -> Json:
    """The JSON of the answer to a form. Raises Unreachable, Throttled, PairingEnded, Refused."""
    return _read(await ask(http, "POST", url, data=form))


async def ask(http: httpx.AsyncClient, method: str, url: str, **options: Any) -> httpx.Response:
    """One request. Raises Unreachable when there is no answer."""
    try:
        return await http.request(method, url, **options)
    except httpx.TransportError as error:
        raise Unreachable(f"{type(error).__name__}: {error}") from None


def retry_seconds(answer: httpx.Response, otherwise: float = 60.0) -> float:
    """Retry-After in seconds (RFC 9110 section 10.2.3)."""
    try:
        return max(0.0, float(answer.headers.get("retry-after", otherwise)))
    except ValueError:
        return otherwise


def _read(answer: httpx.Response) -> Json:
    if answer.status_code in (429, 503):
        raise Throttled(retry_seconds(answer))
    if answer.status_code >= 500:
        raise Unreachable(f"the authorization server answers {answer.status_code}")
    try:
        found = answer.json() if answer.content else {}
    except ValueError:
        found = {}
    if answer.is_success and isinstance(found, dict):
        return found
    error = str(found.get("error", "")) if isinstance(found, dict) else ""
    if error == "invalid_grant":
        raise PairingEnded("the grant is not valid any more")
    description = str(found.get("error_description", "")) if isinstance(found, dict) else ""
    raise Refused(answer.status_code, error or "error", description)
