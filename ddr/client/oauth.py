"""Requests to the authorization server, and its errors as classes (RFC 6749 section 5.2; HDDT authorization-server)."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Mapping, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from ddr.client.answers import unsaid
from ddr.client.errors import PairingEnded, Refused, Throttled, Unreachable, refused, throttled
from ddr.http_dates import http_date_ms
from ddr.reasons import in_words

Json = dict[str, Any]
BUSY = ("temporarily_unavailable", "server_error", "slow_down")  # RFC 6749 section 4.1.2.1: try again later
LONGEST_SECONDS = 7 * 86_400.0  # the longest Retry-After that is followed
ANSWER_SECONDS = 300.0  # the longest that a response may take: a page of thousands over a slow line
MOST_BYTES = 256 * 1024 * 1024  # the largest response
METADATA_SECONDS = 600.0  # how long metadata is used before it is requested again

_known: MutableMapping[httpx.AsyncClient, dict[str, tuple[float, Json]]] = WeakKeyDictionary()


async def metadata(http: httpx.AsyncClient, issuer: str, **options: Any) -> Json:
    """The server's metadata (RFC 8414). Raises Unreachable, Refused (also when the issuer is not the requested one)."""
    known, asked = _known.setdefault(http, {}), issuer.rstrip("/")  # RFC 8414 section 3.1 removes the slash, too
    until, found = known.get(issuer, (0.0, {}))
    if until > time.monotonic():
        return found
    found = _read(await ask(http, "GET", f"{asked}/.well-known/oauth-authorization-server", **options))
    if not same_issuer(found.get("issuer"), issuer):
        raise Refused(200, "issuer", "the metadata names another issuer")
    known[issuer] = time.monotonic() + METADATA_SECONDS, found
    return found


async def post(http: httpx.AsyncClient, url: str, form: Mapping[str, str], **options: Any) -> Json:
    """The JSON of the response to a form. Raises Unreachable, Throttled, PairingEnded, Refused."""
    return _read(await ask(http, "POST", url, data=form, **options))


async def post_for_status(http: httpx.AsyncClient, url: str, form: Mapping[str, str]) -> None:
    """Post a form whose response is its status; a body is ignored (RFC 7009 section 2.2). Raises as `post`."""
    answer = await ask(http, "POST", url, data=form)
    if not answer.is_success:
        _read(answer)


def same_issuer(named: object, issuer: str) -> bool:
    """Whether `named` is this issuer. A trailing slash does not count: owners write base URLs in the HIIS-VZ with or
    without one."""
    return isinstance(named, str) and named.rstrip("/") == issuer.rstrip("/")


def member(answer: Json, name: str) -> str:
    """A text that a response must have, of the characters that RFC 6749 allows. Raises Unreachable when it is missing:
    then a proxy answered."""
    found = answer.get(name)
    if not isinstance(found, str) or not found or not (found.isascii() and found.isprintable()):
        raise Unreachable(f"the response has no valid {name}")
    return found


async def ask(
    http: httpx.AsyncClient, method: str, url: str, *, longest: float | None = None, **options: Any
) -> httpx.Response:
    """Send one request, with `longest` seconds for all of it. Raises Unreachable without a complete response, Refused
    for an invalid URL."""
    try:
        async with asyncio.timeout(longest or ANSWER_SECONDS), http.stream(method, url, **options) as answer:
            return await _whole(answer)
    except TimeoutError:
        raise Unreachable("the response takes too long") from None
    except (httpx.TransportError, httpx.DecodingError, ssl.SSLError) as error:  # TLS 1.3 alerts come unwrapped
        raise Unreachable(f"no response: {in_words(error)}") from None
    except (httpx.InvalidURL, UnicodeEncodeError):
        raise Refused(200, "link", "the URL is not valid") from None


async def _whole(answer: httpx.Response) -> httpx.Response:
    """The response with its body, decoded. Raises Unreachable when the body has no end."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MOST_BYTES:
            raise Unreachable(f"the response has more than {MOST_BYTES:,} bytes")
    headers = [(name, value) for name, value in answer.headers.raw if name.lower() != b"content-encoding"]
    return httpx.Response(
        answer.status_code,
        headers=headers,
        content=bytes(body),
        request=answer.request,
        extensions={"reason_phrase": answer.reason_phrase.encode("ascii", "replace")},
    )


def retry_seconds(answer: httpx.Response, otherwise: float = 60.0) -> float:
    """Retry-After in seconds from now, `otherwise` where it is missing or invalid."""
    seconds = seconds_told(answer.headers)
    return otherwise if seconds is None else min(max(0.0, seconds), LONGEST_SECONDS)


def seconds_told(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds from now. A date (RFC 9110 section 10.2.3) is compared with the response's Date, since our
    clock may differ. None where it is neither number nor date."""
    retry_after = headers.get("retry-after", "")
    try:
        seconds = float(retry_after)
    except ValueError:
        until_ms, now_ms = http_date_ms(retry_after), http_date_ms(headers.get("date"))
        if until_ms is None:
            return None
        seconds = until_ms / 1000 - (time.time() if now_ms is None else now_ms / 1000)
    return None if math.isnan(seconds) else seconds


def _read(answer: httpx.Response) -> Json:
    if answer.status_code in (429, 503):
        raise throttled(answer.status_code, retry_seconds(answer))
    if answer.status_code >= 500:
        raise Unreachable(f"the authorization server responds with {answer.status_code}")
    try:
        found = answer.json() if answer.content else {}
    except (ValueError, RecursionError):
        found = None
    if answer.is_success:
        if isinstance(found, dict):
            return found
        raise Unreachable("the response is not a JSON object")
    error, description = "", ""
    if isinstance(found, dict):
        error, description = str(found.get("error", "")), str(found.get("error_description", ""))
    if error == "invalid_grant":
        raise PairingEnded("the grant is no longer valid")
    if error in BUSY:
        raise Throttled(retry_seconds(answer))
    raise refused(answer.status_code, error or "error", description or unsaid(answer))
