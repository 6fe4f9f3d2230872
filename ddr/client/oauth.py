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
LONGEST_SECONDS = 7 * 86_400.0  # that anybody is taken at his word for
ANSWER_SECONDS = 300.0  # that an answer takes at most: a page of thousands over a slow line
MOST_BYTES = 256 * 1024 * 1024  # that it has at most
METADATA_SECONDS = 600.0  # for which the metadata is not asked for again

_known: MutableMapping[httpx.AsyncClient, dict[str, tuple[float, Json]]] = WeakKeyDictionary()


async def metadata(http: httpx.AsyncClient, issuer: str, **options: Any) -> Json:
    """The server's metadata (RFC 8414); its issuer must be the one that was asked. Raises Unreachable, Refused."""
    known, asked = _known.setdefault(http, {}), issuer.rstrip("/")  # RFC 8414 section 3.1 takes it away, too
    until, found = known.get(issuer, (0.0, {}))
    if until > time.monotonic():
        return found
    found = _read(await ask(http, "GET", f"{asked}/.well-known/oauth-authorization-server", **options))
    if not same_issuer(found.get("issuer"), issuer):
        raise Refused(200, "issuer", "the metadata is of another issuer")
    known[issuer] = time.monotonic() + METADATA_SECONDS, found
    return found


async def post(http: httpx.AsyncClient, url: str, form: Mapping[str, str], **options: Any) -> Json:
    """The JSON of the answer to a form. Raises Unreachable, Throttled, PairingEnded, Refused."""
    return _read(await ask(http, "POST", url, data=form, **options))


async def post_for_status(http: httpx.AsyncClient, url: str, form: Mapping[str, str]) -> None:
    """A form that is answered by the status alone: what comes with it is nobody's affair (RFC 7009 section 2.2).
    Raises as `post`."""
    answer = await ask(http, "POST", url, data=form)
    if not answer.is_success:
        _read(answer)


def same_issuer(named: object, issuer: str) -> bool:
    """Whether `named` is this one. The HIIS-VZ has base URLs, which their owners write with a slash at the end or
    without; that makes no other issuer of them."""
    return isinstance(named, str) and named.rstrip("/") == issuer.rstrip("/")


def member(answer: Json, name: str) -> str:
    """A text that an answer must have, of the characters that RFC 6749 gives it. Raises Unreachable for one that came
    without: of something in between."""
    found = answer.get(name)
    if not isinstance(found, str) or not found or not (found.isascii() and found.isprintable()):
        raise Unreachable(f"an answer without {name}")
    return found


async def ask(
    http: httpx.AsyncClient, method: str, url: str, *, longest: float | None = None, **options: Any
) -> httpx.Response:
    """One request, for `longest` seconds in all. Raises Unreachable when there is no answer, or none that ends, Refused
    for an address that is none."""
    try:
        async with asyncio.timeout(longest or ANSWER_SECONDS), http.stream(method, url, **options) as answer:
            return await _whole(answer)
    except TimeoutError:
        raise Unreachable("no answer: it takes too long") from None
    except (httpx.TransportError, httpx.DecodingError, ssl.SSLError) as error:  # alerts of TLS 1.3 come as they are
        raise Unreachable(f"no answer: {in_words(error)}") from None
    except (httpx.InvalidURL, UnicodeEncodeError):
        raise Refused(200, "link", "an address that is none") from None


async def _whole(answer: httpx.Response) -> httpx.Response:
    """The answer with its body, decoded. Raises Unreachable for one without end."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MOST_BYTES:
            raise Unreachable(f"an answer of more than {MOST_BYTES:,} bytes")
    headers = [(name, value) for name, value in answer.headers.raw if name.lower() != b"content-encoding"]
    return httpx.Response(
        answer.status_code,
        headers=headers,
        content=bytes(body),
        request=answer.request,
        extensions={"reason_phrase": answer.reason_phrase.encode("ascii", "replace")},
    )


def retry_seconds(answer: httpx.Response, otherwise: float = 60.0) -> float:
    """Retry-After in seconds from now, `otherwise` where it does not say."""
    seconds = seconds_told(answer.headers)
    return otherwise if seconds is None else min(max(0.0, seconds), LONGEST_SECONDS)


def seconds_told(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds from now; it may also be a date (RFC 9110 section 10.2.3), which goes by the clock that
    says the Date: ours may show another time. None for what is neither."""
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
        raise Unreachable(f"the authorization server answers {answer.status_code}")
    try:
        found = answer.json() if answer.content else {}
    except (ValueError, RecursionError):
        found = None
    if answer.is_success:
        if isinstance(found, dict):
            return found
        raise Unreachable("an answer that is no JSON object")
    error, description = "", ""
    if isinstance(found, dict):
        error, description = str(found.get("error", "")), str(found.get("error_description", ""))
    if error == "invalid_grant":
        raise PairingEnded("the grant is not valid any more")
    if error in BUSY:
        raise Throttled(retry_seconds(answer))
    raise refused(answer.status_code, error or "error", description or unsaid(answer))
