"""Bodies with a limit, plain and compressed."""

from __future__ import annotations

import gzip
from collections.abc import MutableMapping
from typing import Any

import pytest

from ddr.http.asgi import Receive
from ddr.http.body import BodyError, ClientGone, read_body


def scope(**headers: str) -> dict[str, Any]:
    return {"headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]}


def receiver(*pieces: bytes, gone: bool = False) -> Receive:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    return receive


async def refused(receive: Receive, limit: int, **headers: str) -> int:
    with pytest.raises(BodyError) as caught:
        await read_body(scope(**headers), receive, limit)
    return caught.value.status


async def test_pieces_are_joined_up_to_the_limit() -> None:
    assert await read_body(scope(), receiver(b"ab", b"", b"cd"), 4) == b"abcd"
    assert await refused(receiver(b"ab", b"cde"), 4) == 413


async def test_a_declared_length_is_refused_before_reading() -> None:
    assert await refused(receiver(), 4, content_length="5") == 413
    assert await refused(receiver(), 4, content_length="-1") == 400


async def test_gzip_is_inflated_across_pieces() -> None:
    packed = gzip.compress(b"x" * 1000)
    assert await read_body(scope(content_encoding="gzip"), receiver(packed[:7], packed[7:]), 1000) == b"x" * 1000


async def test_a_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert await refused(receiver(bomb), 100_000, content_encoding="gzip") == 413


@pytest.mark.parametrize("body", [b"plain text", gzip.compress(b"abc")[:-3], gzip.compress(b"a") + b"tail", b""])
async def test_broken_gzip_is_a_bad_request(body: bytes) -> None:
    assert await refused(receiver(body), 100, content_encoding="GZIP") == 400


async def test_other_encodings_are_refused() -> None:
    assert await refused(receiver(b""), 100, content_encoding="br") == 415


async def test_a_client_that_leaves_gets_no_answer() -> None:
    with pytest.raises(ClientGone):
        await read_body(scope(), receiver(b"a", gone=True), 100)
