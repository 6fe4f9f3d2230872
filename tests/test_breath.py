"""Long loops on the event loop let others have their turn, however many of them are ready at once."""

from __future__ import annotations

import asyncio
import time

from ddr.aside import Breath

PART, PARTS, LOOPS = 0.001, 30, 16  # seconds of work


async def work() -> None:
    breath = Breath()
    for _ in range(PARTS):
        until = time.thread_time() + PART
        while time.thread_time() < until:
            pass
        await breath.take()


async def test_all_of_them_together_hold_it_for_a_moment_only() -> None:
    """Processor time of this thread between two turns of somebody else: the machine may be busy."""
    loops = [asyncio.create_task(work()) for _ in range(LOOPS)]
    longest, before = 0.0, time.thread_time()
    while not all(one.done() for one in loops):
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    assert longest < 2 * Breath.SECONDS + LOOPS * PART  # each by itself would have held it for 0.16 s


def test_a_loop_that_ended_in_the_midst_of_a_round_is_forgotten() -> None:
    async def one() -> float:
        return Breath()._since()

    first = asyncio.run(one())
    assert asyncio.run(one()) > first
