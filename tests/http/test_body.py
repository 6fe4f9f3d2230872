"""Bodies with a limit, plain and compressed."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import MutableMapping
from typing import Any
from unittest.mock import patch

import pytest

from ddr.http.admission import NoTurn
from ddr.http.asgi import Receive
from ddr.http.bodies import Bodies
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


@pytest.mark.parametrize(
    "body", [b"plain text", gzip.compress(b"abc", mtime=0)[:-3], gzip.compress(b"a", mtime=0) + b"tail", b""]
)
async def test_broken_gzip_is_a_bad_request(body: bytes) -> None:
    assert await refused(receiver(body), 100, content_encoding="GZIP") == 400


async def test_other_encodings_are_refused() -> None:
    assert await refused(receiver(b""), 100, content_encoding="br") == 415


async def test_a_client_that_leaves_gets_no_answer() -> None:
    with pytest.raises(ClientGone):
        await read_body(scope(), receiver(b"a", gone=True), 100)


async def test_a_bomb_stops_at_the_ratio() -> None:
    bomb = gzip.compress(bytes(4_000_000))
    assert await refused(receiver(bomb), 8_000_000, content_encoding="gzip") == 413


async def test_tight_packing_of_honest_uploads_is_fine() -> None:
    plain = b'{"time":"2026-11-22T10:00:00Z","value":100},' * 5_000
    packed = gzip.compress(plain)
    for size in (7, 1000, len(packed)):
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
        assert await read_body(scope(content_encoding="gzip"), receiver(*pieces), 8_000_000) == plain


async def test_others_have_their_turn_while_a_large_body_is_inflated() -> None:
    packed, turns = gzip.compress(bytes(range(256)) * 16_384), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    with patch("ddr.http.body.MOST_RATIO", 1_000):
        await read_body(scope(content_encoding="gzip"), receiver(packed), 8_000_000)
    task.cancel()
    assert turns >= 10


@pytest.mark.parametrize("first", [[], [b"a"], [b"a"] * 5])
async def test_a_body_that_does_not_come_is_given_up(first: list[bytes]) -> None:
    pieces = [{"type": "http.request", "body": piece, "more_body": True} for piece in first]

    async def receive() -> MutableMapping[str, Any]:
        if pieces:
            return pieces.pop(0)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    with patch("ddr.http.body.FIRST_SECONDS", 0.1):
        assert await refused(receive, 100) == 408


async def test_a_body_that_trickles_is_given_up_though_each_piece_comes_soon() -> None:
    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"a", "more_body": True}

    with patch("ddr.http.body.FIRST_SECONDS", 0.2):
        assert await refused(receive, 100_000) == 408


def test_places_for_bodies_are_counted_by_caller_in_all_and_in_bytes() -> None:
    bodies = Bodies(most=3, most_of_one=2, most_bytes=100)
    with bodies.coming("a"), bodies.coming("a"):
        with pytest.raises(NoTurn), bodies.coming("a"):
            pass
        with bodies.coming("b") as one:
            with pytest.raises(NoTurn), bodies.coming("c"):
                pass
            one.grow(60)
            with pytest.raises(NoTurn):
                one.grow(60)
    with bodies.coming("b") as one:
        one.grow(100)
