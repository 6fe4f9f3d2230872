"""Request bodies with a limit, before and after decompression."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from ddr.http.asgi import Receive, Scope, header

GZIP = 16 + zlib.MAX_WBITS


class BodyError(Exception):
    """The body cannot be taken: `status` is the HTTP status of the answer, the text is safe to show."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ClientGone(Exception):
    """The client closed the connection before its request was complete; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, decompressed when `Content-Encoding: gzip`; never more than `limit` bytes are held of it.

    Raises BodyError 413 (longer than `limit`, also after decompression), 415 (other encoding),
    400 (broken length or gzip), and ClientGone.
    """
    encoding = (header(scope, "content-encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise BodyError(415, "Content-Encoding must be gzip or absent")
    _check_length(header(scope, "content-length"), limit)
    raw = _limited(_pieces(receive), limit)
    return b"".join([piece async for piece in (raw if encoding == "identity" else _gunzipped(raw, limit))])


def _too_large(limit: int) -> BodyError:
    return BodyError(413, f"body exceeds {limit} bytes")


def _check_length(declared: str | None, limit: int) -> None:
    if declared is None:
        return
    if not declared.isascii() or not declared.isdigit():
        raise BodyError(400, "Content-Length is not a number")
    if int(declared) > limit:
        raise _too_large(limit)


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _limited(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    left = limit
    async for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise _too_large(limit)
        yield piece


async def _gunzipped(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Decompress one gzip member; stops inflating as soon as the limit is passed."""
    inflate, left = zlib.decompressobj(GZIP), limit
    async for piece in pieces:
        try:
            plain = inflate.decompress(piece, left + 1)
        except zlib.error:
            raise BodyError(400, "body is not valid gzip") from None
        left -= len(plain)
        if left < 0:
            raise _too_large(limit)
        yield plain
    if not inflate.eof or inflate.unused_data:
        raise BodyError(400, "body is not one complete gzip member")
