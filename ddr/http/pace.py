"""One at a time, and between two of them everybody else who is ready: for work that must not crowd out other work.

An event loop gives each task that is ready one step in turn. Hundreds of refusals that are ready at once would make
every step of a request that is worked on wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Pace:
    """Lets one caller go on in each round of the event loop."""

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
