"""How long the event loop was kept from others while something was done."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.005
# Measured beside a client in the same process on a busy machine. Before, each of these took 0.5 to 43 s.
MOST_SECONDS = 0.25


class Lags:
    """How late a task of the recorder's event loop was, while something else was done.

    A lag is no longer than what this process computed meanwhile: that other processes had the processor is not its.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def during(self, work: Awaitable[T]) -> T:
        """The answer."""
        gc.collect()
        gc.freeze()  # what hundreds of tests before left in this process is no garbage of a recorder
        watching = asyncio.create_task(self._watch())
        try:
            return await work
        finally:
            watching.cancel()
            gc.unfreeze()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted, computed = loop.time() + LOOK_SECONDS, time.process_time()
            await asyncio.sleep(LOOK_SECONDS)
            self.seconds.append(min(loop.time() - wanted, time.process_time() - computed))

    @property
    def short(self) -> bool:
        """No single lag was long."""
        return max(self.seconds, default=0) < MOST_SECONDS

    def check(self) -> None:
        """No single lag was long, and most were none."""
        assert self.short, max(self.seconds)
        assert statistics.median(self.seconds or [0]) < MOST_SECONDS / 5
