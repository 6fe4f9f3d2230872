"""Large work outside the event loop: no request may keep it from the others for longer than 50 ms.

A thread helps because Python switches between threads (sys.setswitchinterval). What does not switch, like a parser
written in C, is bounded by the size of its input (ddr.fhir.bounds).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from ddr.collector import in_hand

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 100_000  # of a document to be parsed
LARGE_ITEMS = 2_000  # of an upload to be checked, cut or answered
LARGE_CHUNKS = 20  # of a series to be read, cut or shown

# Each thread competes with the event loop, and large uploads are rare.
_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="aside")


async def aside(large: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`: called directly, or in a thread when it is `large`."""
    if not large:
        return work(*args, **kwargs)
    given = [partial(work, *args, **kwargs)]
    with in_hand(large=True):
        # Popped, because otherwise the thread would keep it a moment longer than those who are told of its end.
        return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: given.pop()())


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but called directly when the system gives no thread. For necessary work that may be done
    twice, in a process that others depend on and that must not end for lack of a thread."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except RuntimeError:
        return work(*args, **kwargs)


class Breath:
    """Gives way to others during a long loop on the event loop.

    All such loops together occupy it for SECONDS per round, plus one part of each: in a flood many of them are ready at
    once, and whatever waits for a timer or a socket waits for the sum.
    """

    SECONDS = 0.01
    _round: tuple[asyncio.AbstractEventLoop, float] | None = None  # of all: the loop, and since when it is occupied

    def __init__(self) -> None:
        self._since()

    async def take(self) -> None:
        """Await this after each small part of the work."""
        if time.monotonic() - self._since() > self.SECONDS:
            await asyncio.sleep(0)
            self._since()

    @staticmethod
    def _since() -> float:
        """When the first of all of them began in this round."""
        loop = asyncio.get_running_loop()
        if Breath._round is None or Breath._round[0] is not loop:
            Breath._round = (loop, time.monotonic())
            loop.call_soon(_next_round)
        return Breath._round[1]


def _next_round() -> None:
    Breath._round = None
