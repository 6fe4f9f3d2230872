"""The ASGI shape in a few helpers: read headers and query, send one reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from ddr.tls.peer import LOST

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[str, str], ...]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json"
PROBLEM = "application/problem+json"
NO_STORE: Headers = (("cache-control", "no-store"),)
ANY_SITE: Headers = (("access-control-allow-origin", "*"),)  # scripts of any site may read public data


@dataclass(frozen=True)
class Reply:
    """One whole HTTP response. Header names are lower case; content-type and content-length are added when it is sent.

    `settle` is called once, with whether it was sent while the client was connected.
    """

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: Headers = ()
    settle: Callable[[bool], Awaitable[None]] | None = None


def header(scope: Scope, name: str) -> str | None:
    """The first header called `name` (lowercase), or None."""
    wanted = name.encode("latin-1")
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


def header_values(scope: Scope, name: str) -> list[str]:
    """Every header called `name` (lowercase), in order of arrival; for callers that refuse or join repeated ones."""
    wanted = name.encode("latin-1")
    return [value.decode("latin-1") for key, value in scope["headers"] if key == wanted]


def joined_header(scope: Scope, name: str) -> str | None:
    """The header called `name` (lowercase), None without it; when repeated, all of it as one value.

    So when there are two tokens, patients or keys, neither of them is used (RFC 9110 section 5.3).
    """
    values = header_values(scope, name)
    return ", ".join(values) if values else None


def cookie(scope: Scope, name: str) -> str:
    """The value of the cookie `name`; "" without it, and when there are several.

    A name is compared exactly. If blanks that are none in HTTP (U+00A0, U+0085) were stripped, it could be one that
    another host was allowed to set, because the browser did not recognise the prefix `__Host-` (RFC 6265bis section
    4.1.3).
    """
    pairs = (pair.strip(" \t") for value in header_values(scope, "cookie") for pair in value.split(";"))
    values = [pair.removeprefix(f"{name}=") for pair in pairs if pair.startswith(f"{name}=")]
    return values[0] if len(values) == 1 else ""


def media_type(scope: Scope) -> str:
    """The type of the body without its parameters, in lower case; "" when not given."""
    return (header(scope, "content-type") or "").partition(";")[0].strip().lower()


def headers(scope: Scope) -> dict[str, str]:
    """All headers by lowercase name; repeated ones joined with a comma (RFC 9110 section 5.3)."""
    joined: dict[str, str] = {}
    for raw_key, raw_value in scope["headers"]:
        key, value = raw_key.decode("latin-1"), raw_value.decode("latin-1")
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def query_pairs(scope: Scope) -> list[tuple[str, str]]:
    """The query's parameters in order, including repeated and empty ones. Malformed UTF-8 becomes U+FFFD."""
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def filled_query(scope: Scope) -> dict[str, str]:
    """The query's parameters by name, the last of each; those without a value are absent (FHIR R4 search.html)."""
    return {name: value for name, value in query_pairs(scope) if value}


def json_reply(data: Any, status: int = 200, headers: Headers = (), content_type: str = JSON) -> Reply:
    """A reply with `data` as JSON."""
    return Reply(status, orjson.dumps(data), content_type, headers)


def problem(
    status: int,
    title: str,
    detail: str | None = None,
    headers: Headers = (),
    more: Mapping[str, str | bool] | None = None,
) -> Reply:
    """A problem document (RFC 9457) of type about:blank; `more` are additional members."""
    content = {"type": "about:blank", "title": title, "status": status, **({"detail": detail} if detail else {})}
    return json_reply({**content, **(more or {})}, status, headers, PROBLEM)


async def send_reply(scope: Scope, send: Send, reply: Reply) -> None:
    """Send `reply`; for HEAD the body is omitted, but not its length (RFC 9110 section 9.3.2)."""
    if reply.settle is None:
        await _send(scope, send, reply)
        return
    sent = False
    try:
        for _ in range(3):  # notice whatever has arrived meanwhile, through TLS, too: also that the client has gone
            await asyncio.sleep(0)
        if not client_gone(scope):
            await _send(scope, send, reply)
            sent = not client_gone(scope)
    finally:
        await reply.settle(sent)


def client_gone(scope: Scope) -> bool:
    """True once the connection of this request is lost, as far as the listener's protocol knows (ddr.tls.protocol)."""
    lost: Callable[[], bool] | None = scope.get("extensions", {}).get(LOST)
    return lost is not None and lost()


async def _send(scope: Scope, send: Send, reply: Reply) -> None:
    lines = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in reply.headers]
    if reply.content_type is not None:
        lines.append((b"content-type", reply.content_type.encode("latin-1")))
    if reply.status not in (204, 304):
        lines.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": lines})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})
