"""Admission control: a request is processed, waits a moment for its turn, or is told to retry (OPS-011, OPS-015).

How many requests a worker processes at once depends on its connections to the database, on how long requests wait for
these, and on how late the event loop is (`breadth`). Further requests wait in the line of their room:

- Usually for PATIENCE, and up to half as much more. In a short line, the first one is next.
- A line is *long* when its end would wait for more than LONG_SECONDS. Then the newest one is next: it is served soon,
  whereas in order everybody would be late.
- A line is *flooded* when it has been long for PATIENCE: more requests come than can be served. A new request then
  waits for at most twice the time that a request takes, but is only refused when the usual patience is over. If it
  were refused at once, it would be back at once.
- A line is *rising* when it has grown by much at two counts in a row, which no crowd that comes at once causes. Then
  the newest one is next from the beginning, and RUSH_SECONDS are enough to know that the line is flooded.

Each room has a share of the places, so that uploads cannot crowd out reads or vice versa, and uses what others leave.
Among those who wait, callers with the fewest requests in progress are next.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from ddr.call import CONNECTION, CURRENT, TURN, phase, refused
from ddr.http.breadth import CROWDED, RUSHED, USUAL, Breadth
from ddr.http.pace import Pace
from ddr.http.waiting import Turn, Waiting, over
from ddr.store.database.faults import PoolBusy

PATIENCE = 1.0  # seconds
APART = 0.5  # of it on top at most: a crowd refused at one moment would be back at one moment, again and again
LONG_SECONDS = 0.1  # within which a line that is not long is served
RUSH_SECONDS = 0.5  # after which a risen line that is long counts as flooded; for others it is PATIENCE
RISE_SECONDS = 0.03  # between two counts of a line
RISE, RISE_LEAST = 2, 8  # rising: by more than so many times what ended meanwhile, and by more than so many
SHORT_TIMES = 2  # times the duration of a request: the patience while a line is flooded
FIRST_GUESS = 0.02  # seconds that a request takes, until any was measured
WEIGHT = 0.1  # of the newest request in the mean duration
PER_CONNECTION = 2  # requests in progress per connection: while one computes, the other asks the database


class Share(NamedTuple):
    """What a room may use: a share of all places, and the maximum of one caller, as a share of all or as a number.

    `together`: concurrent requests are stored together, so running fewer at once would only be slower.
    """

    part: float
    of_one: float | int
    together: bool = False


# Two writers of a patient would only wait for each other; a DiGA asks for many patients, an address may be that of many
# people.
SHARES = {
    "reading": Share(0.3, 0.5),
    "ingestion": Share(0.3, 2, together=True),
    "authorization": Share(0.1, 0.25),
    "pages": Share(0.1, 0.25),
}


class NoTurn(PoolBusy):
    """No turn within the patience: the answer is 503 with Retry-After, in the format of the room."""


class _Line:
    """The line of one room: `part` is its share of all places, `of_one` the most requests of one caller in progress.

    Instants are seconds of the admission's clock. `flooded`, `rising` and `long` are explained above.
    """

    def __init__(self, part: float, of_one: int) -> None:
        self.part, self.of_one = part, of_one
        self.running = 0
        self.running_of: Counter[object] = Counter()
        self.waiting = Waiting(of_one)
        self.seconds = FIRST_GUESS  # mean duration of a request
        self.ended = 0  # requests since the last count
        self.flooded = False
        self.rising = False
        self.refused_at = 0.0  # when the last request was refused a turn
        self._short_at = 0.0  # when the line was last not long
        self._has_risen = False  # since then
        self._count, self._counted_at = 0, 0.0  # how many waited at the last count, and when that was
        self._rose = False  # at the last count

    def share(self, places: int) -> int:
        """Its share of `places`, at least one."""
        return max(1, int(places * self.part))

    @property
    def long(self) -> bool:
        """Whether its end would have to wait too long for a turn in order."""
        return self.waiting.count * self.seconds > LONG_SECONDS * max(self.running, 1)

    def look(self, now: float) -> None:
        """Find out whether the line is flooded, and from time to time whether it is rising."""
        if not self.long:
            self._short_at, self._has_risen = now, False
        if self.flooded:
            self.flooded = now - self.refused_at <= PATIENCE * (1 + APART)  # by then, a refused caller is back
        elif now - self._short_at > (RUSH_SECONDS if self._has_risen else PATIENCE):
            self.flooded, self.refused_at = True, now
        if now - self._counted_at >= RISE_SECONDS:
            self._take_count(now)

    def _take_count(self, now: float) -> None:
        rose = self.waiting.count - self._count > max(RISE * self.ended, RISE_LEAST)
        self.rising, self._rose = rose and self._rose, rose
        self._has_risen |= self.rising
        self._count, self._counted_at, self.ended = self.waiting.count, now, 0

    def patience(self, most: float) -> float:
        """How many seconds a new request may wait, at most `most`."""
        return min(most, SHORT_TIMES * self.seconds) if self.flooded else most

    def expected_wait(self, whose: object, places: int) -> float:
        """In seconds. Many requests of one caller only delay others as far as they may run at once."""
        before, own = self.waiting.ahead, self.waiting.of(whose)
        return max((before + 1) / max(self.running, self.share(places)), (own + 1) / self.of_one) * self.seconds

    def take(self) -> tuple[object, Turn] | None:
        """Remove and return the next one: the first, or the newest when the line is long."""
        return self.waiting.take(self.running_of, last=self.flooded or self.rising or self.long)


class Held:
    """A turn: `async with` it. It may be `over` before the block ends."""

    __slots__ = ("_admission", "_began", "_line", "_whose")

    def __init__(self, admission: Admission, line: _Line, whose: object) -> None:
        self._admission, self._line, self._whose = admission, line, whose
        self._began: float | None = None  # while it lasts

    async def __aenter__(self) -> Held:
        await self._admission.begin(self._line, self._whose)
        self._began = self._admission.now()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.over()

    def over(self) -> None:
        """Give the place to others."""
        if (began := self._began) is not None:
            self._began = None
            self._admission.end(self._line, self._whose, self._admission.now() - began)


class Admission:
    """The turns of one worker."""

    def __init__(self, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = PER_CONNECTION * connections
        self.breadth = Breadth(self.most)
        self.refused = 0
        self.running = 0  # requests in progress
        self.waiting = 0  # requests that wait for their turn
        self._clock = clock
        self._refusals = Pace()
        self._lines = {
            name: _Line(part, of_one if isinstance(of_one, int) else max(2, int(self.most * of_one)))
            for name, (part, of_one, _) in SHARES.items()
        }

    def late(self, seconds: float) -> None:
        """The loop is this late: fewer requests are begun (ddr.http.breadth). Lines with `together` do not count."""
        lines = [line for name, line in self._lines.items() if not SHARES[name].together]
        flooded, rising = any(line.flooded for line in lines), any(line.rising for line in lines)
        self.breadth.note(seconds, CROWDED if flooded else RUSHED if rising else USUAL)
        self._give()

    def turn(self, room: str, whose: object) -> Held:
        """The time of one request of `whose` to `room`, after waiting for its turn. Entering it raises NoTurn."""
        return Held(self, self._lines[room], whose)

    async def begin(self, line: _Line, whose: object) -> None:
        """Returns when it is the turn of `whose`. Raises NoTurn."""
        if not line.waiting.of(whose) and line.running_of[whose] < line.of_one and self._place(line):
            self._begin(line, whose)
            return
        with phase(TURN):
            came, most = self._clock(), PATIENCE * random.uniform(1, 1 + APART)  # noqa: S311 - not a secret
            try:
                await self._wait(line, whose, most)
            except NoTurn:
                line.refused_at = self._clock()
                self.refused += 1
                refused("overloaded")
                if line.flooded:  # a caller that is refused at once is back at once, and refusing takes time, too
                    await asyncio.sleep(came + most - line.refused_at)
                await self._refusals.step()
                raise

    def end(self, line: _Line, whose: object, seconds: float) -> None:
        """What `begin` allowed has ended, after this time."""
        line.seconds += WEIGHT * (seconds - line.seconds)
        if (call := CURRENT.get()) is not None:
            self.breadth.waited(call.phases.get(CONNECTION, 0.0))
        self._end(line, whose)

    def now(self) -> float:
        """Seconds by the clock of the turns."""
        return self._clock()

    def _place(self, line: _Line) -> bool:
        """Whether there is a place within its own share, or one that the others' unused shares do not need."""
        running, places = self.running, self.breadth.places
        if running >= places:
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
        """Give the place to those who wait."""
        self.running -= 1
        line.running -= 1
        line.ended += 1
        line.running_of[whose] -= 1
        if not line.running_of[whose]:
            del line.running_of[whose]
        self._give()
        line.look(self._clock())

    def _give(self) -> None:
        """Give free places to those who wait, first to the room that uses the least of its share."""
        if not self.waiting:
            return
        crowded = [line for line in self._lines.values() if line.waiting.count]
        for line in sorted(crowded, key=lambda line: line.running / line.part):
            while self._place(line) and (found := line.take()):
                whose, turn = found
                self.waiting -= 1
                if not turn.done():
                    self._begin(line, whose)
                    turn.set_result(True)

    async def _wait(self, line: _Line, whose: object, most: float) -> None:
        """Wait until somebody who leaves gives a place. Raises NoTurn."""
        line.look(self._clock())
        if line.expected_wait(whose, self.most if line.rising else self.breadth.places) > PATIENCE:
            raise NoTurn
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        line.waiting.add(whose, turn)
        self.waiting += 1
        end = loop.call_later(line.patience(most), over, turn)
        try:
            given = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self._end(line, whose)  # the turn came at that very moment
            raise
        finally:
            end.cancel()
            self.waiting -= line.waiting.drop(whose, turn)
        if not given:
            raise NoTurn
