"""The body of somebody else's answer, no longer than is asked for, also when it is packed."""

from __future__ import annotations

import zlib

import httpx

ACCEPTED = "gzip"  # what `limited_body` can unpack, for the header accept-encoding
GZIP = 16 + zlib.MAX_WBITS


class BodyRefused(Exception):
    """The body is too long or not packed as was asked for; the text goes on after "the answer"."""


async def limited_body(response: httpx.Response, limit: int) -> bytes:
    """The body, unpacked by us: httpx unpacks each piece as a whole, and what was packed several times as often.

    Raises BodyRefused.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise BodyRefused("is encoded otherwise than was asked for")
    packed = zlib.decompressobj(GZIP) if encoding.endswith("gzip") else None
    body = bytearray()
    async for piece in response.aiter_raw():
        if packed and packed.eof:
            continue  # `packed` would keep what comes behind the end, however much that is
        try:
            body += packed.decompress(piece, limit + 1 - len(body)) if packed else piece
        except zlib.error:
            raise BodyRefused("is not gzip") from None
        if len(body) > limit:
            raise BodyRefused(f"is larger than {limit} bytes")
    if packed and not packed.eof:
        raise BodyRefused("is cut off")
    return bytes(body)
