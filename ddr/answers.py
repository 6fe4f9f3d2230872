"""The body of another server's answer with a limit on its length, also when it is compressed."""

from __future__ import annotations

import zlib

import httpx

ACCEPTED = "gzip"  # what `limited_body` can decompress, for the header accept-encoding
GZIP = 16 + zlib.MAX_WBITS


class BodyRefused(Exception):
    """The body is too long or not compressed as requested; the text continues a sentence after "the answer"."""


async def limited_body(response: httpx.Response, limit: int) -> bytes:
    """The body, decompressed by us: httpx decompresses each piece as a whole, and as often as it was compressed.

    Raises BodyRefused.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise BodyRefused("is encoded otherwise than was asked for")
    packed = zlib.decompressobj(GZIP) if encoding.endswith("gzip") else None
    body = bytearray()
    async for piece in response.aiter_raw():
        if packed and packed.eof:
            continue  # `packed` would keep whatever follows the end, however much
        try:
            body += packed.decompress(piece, limit + 1 - len(body)) if packed else piece
        except zlib.error:
            raise BodyRefused("is not gzip") from None
        if len(body) > limit:
            raise BodyRefused(f"is larger than {limit} bytes")
    if packed and not packed.eof:
        raise BodyRefused("is cut off")
    return bytes(body)
