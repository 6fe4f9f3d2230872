"""Concurrent downloads of many patients: few are generated at once, and none of those that wait for their reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ddr.http.core import DOWNLOADS, Core
from ddr.patient_pages.download import in_turns


async def test_few_are_made_at_once_and_who_does_not_read_holds_up_nobody(core: Core) -> None:
    in_hand = most = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal in_hand, most
        for _ in range(3):
            in_hand += 1
            most = max(most, in_hand)
            for _ in range(5):  # steps in which the others could begin
                await asyncio.sleep(0)
            in_hand -= 1
            yield b"a"

    async def read() -> bytes:
        return b"".join([piece async for piece in in_turns(core, pieces())])

    async with asyncio.timeout(60):
        unread = [in_turns(core, pieces()) for _ in range(2 * DOWNLOADS)]
        assert await asyncio.gather(*(anext(one) for one in unread)) == [b"a"] * len(unread)
        assert await asyncio.gather(*(read() for _ in range(5 * DOWNLOADS))) == [b"aaa"] * 5 * DOWNLOADS
    assert most == DOWNLOADS
