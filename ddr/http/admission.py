"""Admission control: who is worked on, who waits a moment, who is told to come again (OPS-011, OPS-015).

What a worker can do at once follows from its connections to the database, how long they are waited for, and how late
the event loop is: work that only waits for other work makes all of it late (`breadth`). Beyond that a request waits its
turn. A crowd that comes at once is given PATIENCE. Where the line has not been empty for as long as that, more comes
than can be done: then only who comes just now is worked on, soon, and who would have to wait is told so after PATIENCE;
else everybody would be late.

Each room keeps a share, so that uploads cannot crowd out reading nor the reverse, and takes what others leave; who has
least in hand is next.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ddr.call import CONNECTION, CURRENT, TURN, phase, refused
from ddr.http.breadth import Breadth
from ddr.http.pace import Pace
from ddr.store.database.faults import PoolBusy

PATIENCE = 1.0  # seconds
LONG_SECONDS = 0.1  # in which a line that is not long comes to its end
SHORT_TIMES = 2  # of the time that a request takes: the patience while more comes than can be done
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
    """No turn within the patience: the answer is 503 with Retry-After, in the room's own form."""


Turn = asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    part: float
    of_one: int
    running: int = 0
    running_of: Counter[object] = field(default_factory=Counter)
    waiting: dict[object, dict[Turn, float]] = field(default_factory=dict)  # by whom, and since when: oldest first
    count: int = 0  # of those who wait
    short: float = 0.0  # when the line was not long the last time
    flooded: bool = False
    told: float = 0.0  # when one had to go without a turn the last time
    seconds: float = FIRST_GUESS

    def share(self, places: int) -> int:
        """Of so many places."""
        return max(1, int(places * self.part))

    @property
    def long(self) -> bool:
        """Its end would have to wait too long for a turn in order."""
        return self.count * self.seconds > LONG_SECONDS * max(self.running, 1)

    def look(self, now: float) -> None:
        """See whether more comes than can be done."""
        if not self.long:
            self.short = now
        if self.flooded:
            self.flooded = now - self.told <= PATIENCE
        elif now - self.short > PATIENCE:
            self.flooded, self.told = True, now

    @property
    def patience(self) -> float:
        """Seconds that who comes now may wait."""
        return min(PATIENCE, SHORT_TIMES * self.seconds) if self.flooded else PATIENCE

    def expected_wait(self, whose: object, places: int) -> float:
        """Seconds. Many requests of one caller are before the others only as far as they may run at once."""
        before = sum(min(len(turns), self.of_one) for turns in self.waiting.values())
        own = len(self.waiting.get(whose, ()))
        return max((before + 1) / max(self.running, self.share(places)), (own + 1) / self.of_one) * self.seconds

    def add(self, whose: object, turn: Turn, now: float) -> None:
        """Another one waits."""
        self.waiting.setdefault(whose, {})[turn] = now
        self.count += 1

    def drop(self, whose: object, turn: Turn) -> bool:
        """It waits no more; False when it did not wait."""
        turns = self.waiting.get(whose, {})
        if turns.pop(turn, None) is None:
            return False
        self.count -= 1
        if not turns:
            del self.waiting[whose]
        return True

    def next(self, may_run: Callable[[_Line, object], bool]) -> tuple[object, Turn] | None:
        """Who is next: of who has least in hand the one who came first; the one who came last when the line is long."""
        last = self.flooded or self.long
        least, found = (0, 0.0), None
        for whose, turns in self.waiting.items():
            if may_run(self, whose):
                turn = next(reversed(turns) if last else iter(turns))
                rank = (self.running_of[whose], -turns[turn] if last else turns[turn])
                if found is None or rank < least:
                    least, found = rank, (whose, turn)
        return found


class Held:
    """A turn: `async with` it."""

    __slots__ = ("_admission", "_began", "_line", "_whose")

    def __init__(self, admission: Admission, line: _Line, whose: object) -> None:
        self._admission, self._line, self._whose = admission, line, whose
        self._began = 0.0

    async def __aenter__(self) -> None:
        await self._admission.begin(self._line, self._whose)
        self._began = self._admission.now()

    async def __aexit__(self, *error: object) -> None:
        self._admission.end(self._line, self._whose, self._admission.now() - self._began)


class Admission:
    """The turns of one worker."""

    def __init__(self, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = PER_CONNECTION * connections
        self.breadth = Breadth(self.most)
        self.refused = 0
        self.running = 0  # requests that are worked on
        self.waiting = 0  # requests that wait for their turn
        self._clock = clock
        self._refusals = Pace()
        self._lines = {
            name: _Line(part, of_one if isinstance(of_one, int) else max(2, int(self.most * of_one)))
            for name, (part, of_one) in SHARES.items()
        }

    def late(self, seconds: float) -> None:
        """The event loop is so late: fewer are begun (ddr.http.breadth)."""
        self.breadth.note(seconds)
        self._give()

    def turn(self, room: str, whose: object) -> Held:
        """The time of one request of `whose` to `room`, after waiting for its turn. Entering it raises NoTurn."""
        return Held(self, self._lines[room], whose)

    async def begin(self, line: _Line, whose: object) -> None:
        """Returns when it is the turn of `whose`. Raises NoTurn."""
        if not line.waiting.get(whose) and self._may_run(line, whose):
            self._begin(line, whose)
            return
        with phase(TURN):
            came = self._clock()
            try:
                await self._wait(line, whose)
            except NoTurn:
                line.told = self._clock()
                self.refused += 1
                refused("overloaded")
                if line.flooded:  # who is told at once is there again at once, and telling takes time, too
                    await asyncio.sleep(came + PATIENCE - line.told)
                await self._refusals.step()
                raise

    def end(self, line: _Line, whose: object, seconds: float) -> None:
        """What `begin` allowed has taken so long."""
        line.seconds += WEIGHT * (seconds - line.seconds)
        if (call := CURRENT.get()) is not None:
            self.breadth.waited(call.phases.get(CONNECTION, 0.0))
        self._end(line, whose)

    def now(self) -> float:
        """Seconds by the clock of the turns."""
        return self._clock()

    def _may_run(self, line: _Line, whose: object) -> bool:
        """There is a place of its own share, or one that the others' unused shares do not need."""
        running, places = self.running, self.breadth.places
        if running >= places or line.running_of.get(whose, 0) >= line.of_one:
            return False
        if line.running < line.share(places):
            return True
        kept = sum(max(0, other.share(places) - other.running) for other in self._lines.values() if other is not line)
        return running + kept < places

    def _begin(self, line: _Line, whose: object) -> None:
        self.running += 1
        line.running += 1
        line.running_of[whose] += 1

    def _end(self, line: _Line, whose: object) -> None:
        """Leave the place to those who wait."""
        self.running -= 1
        line.running -= 1
        line.running_of[whose] -= 1
        if not line.running_of[whose]:
            del line.running_of[whose]
        self._give()
        line.look(self._clock())

    def _give(self) -> None:
        """Give what is free to those who wait, first to the room that uses least of its share."""
        if not self.waiting:
            return
        crowded = [line for line in self._lines.values() if line.count]
        for other in sorted(crowded, key=lambda line: line.running / line.part):
            while other.count and (found := other.next(self._may_run)):
                who, turn = found
                self._drop(other, who, turn)
                if not turn.done():
                    self._begin(other, who)
                    turn.set_result(None)

    def _drop(self, line: _Line, whose: object, turn: Turn) -> bool:
        """It waits no more; False when it did not wait."""
        waited = line.drop(whose, turn)
        self.waiting -= waited
        return waited

    async def _wait(self, line: _Line, whose: object) -> None:
        """Wait for a place, which whoever leaves one gives away. Raises NoTurn."""
        now = self._clock()
        line.look(now)
        if line.expected_wait(whose, self.breadth.places) > PATIENCE:
            raise NoTurn
        turn: Turn = asyncio.get_running_loop().create_future()
        line.add(whose, turn, now)
        self.waiting += 1
        try:
            async with asyncio.timeout(line.patience):
                await turn
        except BaseException as error:
            if not self._drop(line, whose, turn) and turn.done() and not turn.cancelled():
                self._end(line, whose)  # it came at the very moment
            if isinstance(error, TimeoutError):
                raise NoTurn from None
            raise
