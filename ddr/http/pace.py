"""Lets one task run at a time, with all other ready tasks in between: for work that must not crowd out other work.

An event loop runs one step of each ready task in turn. If hundreds of refusals were ready at once, every step of a
request in progress would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Pace:
    """Lets one caller continue in each round of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._stepping = False

    async def step(self) -> None:
        """Returns when it is this caller's turn, in order."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._stepping:
            self._stepping = True
            loop.call_soon(self._step, loop)
        await turn

    def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                loop.call_soon(self._step, loop)
                return
        self._stepping = False
