"""Admission control: who is worked on, who waits a moment, who is told to come again (OPS-011, OPS-015).

What a worker can do at once follows from its connections to the database. Beyond that a request waits its turn, but
only when that will come within PATIENCE: an answer that comes later helps nobody, and the work for it delays all
others. Each room keeps a share, so that uploads cannot crowd out reading nor the reverse, and takes what others leave.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from ddr.call import TURN, phase, refused
from ddr.store.database.faults import PoolBusy

PATIENCE = 1.0  # seconds
FIRST_GUESS = 0.02  # seconds that a request takes, before any was measured
WEIGHT = 0.1  # of the newest request in the mean time of one
PER_CONNECTION = 2  # requests on their way for each connection: while one computes, the other asks the database


class Share(NamedTuple):
    """What a room may count on: a part of all places; and what one caller may have at most, of all or as a number."""

    part: float
    of_one: float | int


# Two writers of a patient would only wait for each other; a DiGA asks for many patients, an address has many people.
SHARES = {
    "reading": Share(0.3, 0.5),
    "ingestion": Share(0.3, 2),
    "authorization": Share(0.1, 0.25),
    "pages": Share(0.1, 0.25),
}


class NoTurn(PoolBusy):
    """No turn within PATIENCE: the answer is 503 with Retry-After, in the room's own form."""


@dataclass(slots=True)
class _Line:
    share: int
    of_one: int
    running: int = 0
    waiting: dict[asyncio.Future[None], object] = field(default_factory=dict)  # in order of arrival, by whom
    seconds: float = FIRST_GUESS
    running_of: Counter[object] = field(default_factory=Counter)

    def expected_wait(self, whose: object) -> float:
        """Seconds. Many requests of one caller are before the others only as far as they may run at once."""
        waiting = Counter(self.waiting.values())
        before = sum(min(count, self.of_one) for count in waiting.values())
        places = max(self.running, self.share)
        return max((before + 1) / places, (waiting[whose] + 1) / self.of_one) * self.seconds


class Admission:
    """The turns of one worker."""

    def __init__(self, connections: int) -> None:
        self.most = PER_CONNECTION * connections
        self.refused = 0
        self._lines = {
            name: _Line(
                max(1, int(self.most * part)), of_one if isinstance(of_one, int) else max(2, int(self.most * of_one))
            )
            for name, (part, of_one) in SHARES.items()
        }

    @property
    def running(self) -> int:
        """How many requests are worked on."""
        return sum(line.running for line in self._lines.values())

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(len(line.waiting) for line in self._lines.values())

    @asynccontextmanager
    async def turn(self, room: str, whose: object) -> AsyncIterator[None]:
        """The time of one request of `whose` to `room`, after waiting for its turn. Raises NoTurn."""
        line, loop = self._lines[room], asyncio.get_running_loop()
        if self._may_run(line, whose):
            self._begin(line, whose)
        else:
            try:
                with phase(TURN):
                    await self._wait(line, whose)
            except NoTurn:
                self.refused += 1
                refused("overloaded")
                raise
        began = loop.time()
        try:
            yield
        finally:
            line.seconds += WEIGHT * (loop.time() - began - line.seconds)
            self._end(line, whose)

    def _may_run(self, line: _Line, whose: object) -> bool:
        """There is a place of its own share, or one that the others' unused shares do not need."""
        running = self.running
        if running >= self.most or line.running_of[whose] >= line.of_one:
            return False
        kept = sum(max(0, other.share - other.running) for other in self._lines.values() if other is not line)
        return line.running < line.share or running + kept < self.most

    def _begin(self, line: _Line, whose: object) -> None:
        line.running += 1
        line.running_of[whose] += 1

    def _end(self, line: _Line, whose: object) -> None:
        """Leave the place, and give what is free to those who wait, first to the room that uses least of its share."""
        line.running -= 1
        line.running_of[whose] -= 1
        if not line.running_of[whose]:
            del line.running_of[whose]
        for other in sorted(self._lines.values(), key=lambda line: line.running / line.share):
            for turn, who in list(other.waiting.items()):
                if self.running >= self.most:
                    return
                if not turn.done() and self._may_run(other, who):
                    self._begin(other, who)
                    del other.waiting[turn]
                    turn.set_result(None)

    async def _wait(self, line: _Line, whose: object) -> None:
        """Wait for a place, which whoever leaves one gives away. Raises NoTurn."""
        if line.expected_wait(whose) > PATIENCE:
            raise NoTurn
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting[turn] = whose
        try:
            async with asyncio.timeout(PATIENCE):
                await turn
        except BaseException as error:
            if line.waiting.pop(turn, None) is None and turn.done() and not turn.cancelled():
                self._end(line, whose)  # it came at the very moment
            if isinstance(error, TimeoutError):
                raise NoTurn from None
            raise
