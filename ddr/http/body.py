"""Request bodies with limits before and after decompression: on bytes, ratio and time."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from ddr.call import BODY, phase
from ddr.http.asgi import Receive, Scope, header

GZIP = 16 + zlib.MAX_WBITS
MOST_RATIO = 100  # of output to input; honest uploads reach 20
RATIO_FREE = 262_144  # bytes of output that are allowed for any input
STEP = 262_144  # bytes that are inflated before others get their turn

# RFC 9110 section 15.5.9: a client that does not send is told so. After its first seconds, a body must keep up
# LEAST_RATE.
FIRST_SECONDS = 10.0
LEAST_RATE = 1024  # bytes a second
MOST_SECONDS = 120.0


class BodyError(Exception):
    """The body cannot be accepted: `status` is the HTTP status of the answer, the text is safe to show."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Further headers of the answer: with 415, the accepted content codings (RFC 9110 section 15.5.16)."""
        return (("accept-encoding", "gzip"),) if self.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE else ()


class ClientGone(Exception):
    """The client closed the connection before its request was complete; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, limit: int, grow: Callable[[int], None] = lambda _: None) -> bytes:
    """The whole body, decompressed if `Content-Encoding: gzip`; never more than `limit` bytes of it are held.

    `grow` is called with the length of each decompressed piece.

    Raises BodyError 413 (longer than `limit`, also after decompression, or compressed tighter than MOST_RATIO), 415
    (other encoding), 400 (broken length or gzip), 408 (too slow), and ClientGone.
    """
    encoding = (header(scope, "content-encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise BodyError(415, "Content-Encoding must be gzip or absent")
    _check_length(header(scope, "content-length"), limit)
    raw = _limited(pieces(receive), limit)
    found: list[bytes] = []
    async for piece in raw if encoding == "identity" else _gunzipped(raw, limit):
        grow(len(piece))
        found.append(piece)
    return b"".join(found)


def _too_large(limit: int) -> BodyError:
    return BodyError(413, f"The body exceeds {limit} bytes")


def _check_length(declared: str | None, limit: int) -> None:
    if declared is None:
        return
    if not declared.isascii() or not declared.isdigit():
        raise BodyError(400, "Content-Length is not a number")
    if exceeds(declared, limit):
        raise _too_large(limit)


def exceeds(declared: str | None, limit: int) -> bool:
    """Whether the Content-Length `declared` is longer than `limit`; an invalid one is ignored."""
    if declared is None or not declared.isascii() or not declared.isdigit():
        return False
    return len(declared) > len(str(limit)) or int(declared) > limit


async def pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises BodyError 408 when it arrives too slowly, and ClientGone."""
    loop = asyncio.get_running_loop()
    began, received, more = loop.time(), 0, True
    while more:
        allowed = min(FIRST_SECONDS + received / LEAST_RATE, MOST_SECONDS)
        try:
            with phase(BODY):
                async with asyncio.timeout_at(began + allowed):
                    message = await receive()
        except TimeoutError:
            raise BodyError(408, f"The body arrived at less than {LEAST_RATE} bytes per second") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        received += len(piece)
        yield piece
        more = message.get("more_body", False)


async def _limited(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    left = limit
    async for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise _too_large(limit)
        yield piece


async def _gunzipped(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Decompress one gzip member; stops inflating as soon as the limit or the ratio is passed."""
    inflate, packed, plain = zlib.decompressobj(GZIP), 0, 0
    async for piece in pieces:
        packed += len(piece)
        more = True
        while more:
            try:
                step = inflate.decompress(piece, STEP)
            except zlib.error:
                raise BodyError(400, "The body is not valid gzip") from None
            plain, piece = plain + len(step), inflate.unconsumed_tail
            if plain > limit:
                raise _too_large(limit)
            if plain > RATIO_FREE and plain > packed * MOST_RATIO:
                raise BodyError(413, f"The body is compressed by more than {MOST_RATIO} to 1")
            yield step
            if more := bool(piece) or len(step) == STEP:
                await asyncio.sleep(0)
    if not inflate.eof or inflate.unused_data:
        raise BodyError(400, "The body is not one complete gzip member")
