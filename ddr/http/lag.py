"""How long the event loop of a worker kept others waiting, measured by a task that only wants to be woken in time.

A lag may be the fault of the machine, if it had no processor to spare. What the loop's own thread computed meanwhile is
our fault.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Never

EVERY_SECONDS = 0.02
LONG_SECONDS = 0.05  # no request may occupy the loop longer


class Lag:
    """What was seen since the start, in seconds."""

    def __init__(self) -> None:
        self.most = 0.0
        self.most_work = 0.0  # processor time of the loop's thread within one lag
        self.total = 0.0  # of the lags above LONG_SECONDS
        self.count = 0  # of these

    async def watch(self, tell: Callable[[float], None] = lambda seconds: None) -> Never:
        """Watch until cancelled; `tell` is called with each lag in seconds."""
        loop = asyncio.get_running_loop()
        while True:
            wanted, worked = loop.time() + EVERY_SECONDS, time.thread_time()
            await asyncio.sleep(EVERY_SECONDS)
            seconds = loop.time() - wanted
            self.note(seconds, time.thread_time() - worked)
            tell(seconds)

    def note(self, seconds: float, worked: float) -> None:
        """The loop came this much later than it should have, and its thread worked this long in between."""
        self.most = max(self.most, seconds)
        self.most_work = max(self.most_work, min(seconds, worked))
        if seconds > LONG_SECONDS:
            self.count += 1
            self.total += seconds
