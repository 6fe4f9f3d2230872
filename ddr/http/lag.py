"""How long the event loop of a worker kept others waiting: seen by a task that only wants to be woken up in time."""

from __future__ import annotations

import asyncio
from typing import Never

EVERY_SECONDS = 0.02
LONG_SECONDS = 0.05  # no request may keep the loop longer


class Lag:
    """What was seen since the start. Seconds."""

    def __init__(self) -> None:
        self.most = 0.0
        self.total = 0.0  # of the lags above LONG_SECONDS
        self.count = 0  # of these

    async def watch(self) -> Never:
        """Look, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            wanted = loop.time() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            self.note(loop.time() - wanted)

    def note(self, seconds: float) -> None:
        """The loop came so much later than it should have."""
        self.most = max(self.most, seconds)
        if seconds > LONG_SECONDS:
            self.count += 1
            self.total += seconds
