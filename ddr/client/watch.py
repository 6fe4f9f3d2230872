"""The polling loop as a service: thousands of pairings, some at a time, spread over the Grace-Period.

Each change is delivered at least once, and after a restart the loop continues where it was: the Journal has what was
taken.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import httpx

from ddr.client.diga import Diga
from ddr.client.errors import Busy, ClientError, PairingEnded, Throttled, Unanswered, Unreachable
from ddr.client.journal import Journal, Turn
from ddr.client.pull import Change, Cursor, Step
from ddr.client.recorder import Recorder
from ddr.client.rest import Rest
from ddr.client.tokens import PairingStore

# How long a turn is leased; the lease is renewed while it runs. When its process has died before it could save the
# response to a refresh, another one repeats that refresh while the recorder still repeats its response
# (ddr/client/session.py).
LEASE_SECONDS = 4.0
BEAT_SECONDS = 1.0
LOOK_SECONDS = 2.0  # how often the journal is checked for due turns
FOLLOW_SECONDS = 10.0  # how often the token store is checked for new pairings
FIRST_PAUSE_SECONDS = 2.0  # after a failure; doubled with each further one, up to the interval
DELIVERY_PAUSES = (0.1, 0.5, 2.0)  # before a failed delivery is tried again; later with the next turn
JITTER = 0.02  # as a share of the interval
SET_BACK_SECONDS = 1.0  # beyond this a clock was set back and did not merely drift

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class News:
    """The changes of one page. They count as taken when the callback returns; after an error they are delivered again.

    `unshown` is as in Step.
    """

    pairing_id: str
    changes: tuple[Change, ...]
    cursor: Cursor
    unshown: int = 0


@dataclass
class Figures:
    """What a Watch has done since its start."""

    turns: int = 0
    changes: int = 0
    failures: int = 0
    ended: int = 0
    last_errors: dict[str, int] = field(default_factory=dict)  # by kind of error


Deliver = Callable[[News], Awaitable[None]]
Ended = Callable[[str], Awaitable[None]]


async def _nobody(pairing_id: str) -> None:
    """The default for `ended`."""


class Watch:
    """Polls every pairing of `tokens` every `interval` seconds, which is the Grace-Period or longer.

    `deliver` takes changes. `ended` is called with a pairing that the patient or the recorder has ended, before its
    tokens are forgotten. Both may be called again with the same argument after an error or a crash, and concurrently
    for different pairings. Every `whole_seconds` a pairing gets a full search, which finds deletions. When a recorder
    is busy (503), all pairings leave it alone for its Retry-After; run one Watch per recorder.
    """

    def __init__(
        self,
        diga: Diga,
        http: httpx.AsyncClient,
        tokens: PairingStore,
        journal: Journal,
        deliver: Deliver,
        *,
        interval: float = 900.0,
        concurrency: int = 16,
        ended: Ended = _nobody,
        history: timedelta | None = None,
        whole_seconds: float = 86_400.0,
    ) -> None:
        self._diga, self._http, self._tokens, self._journal = diga, http, tokens, journal
        self._deliver, self._ended = deliver, ended
        self._interval, self._concurrency, self._history = interval, concurrency, history
        self._whole_seconds = whole_seconds
        self._turns: dict[asyncio.Task[None], str] = {}  # with the pairing whose turn it is
        self._rest = Rest(interval)
        self._ahead = float("inf")  # wall clock minus monotonic clock, at the last check
        self.figures = Figures()

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until `stop` is set, then finish the running turns; or until cancelled, then give them back.

        It waits for a journal or a token store that becomes unavailable later; one that is unavailable at the start is
        an error.
        """
        stop = stop or asyncio.Event()
        await self._follow()
        await self._hasten()
        followed = time.monotonic()
        ending, beating = asyncio.create_task(stop.wait()), asyncio.create_task(self._beat())
        try:
            while not stop.is_set():
                try:
                    if time.monotonic() >= followed + FOLLOW_SECONDS:
                        await self._follow()
                        followed = time.monotonic()
                    await self._hasten()
                    await self._fill(ending)
                except Exception as error:  # the journal or the token store is unavailable
                    self._count(error)
                    await asyncio.wait({ending}, timeout=FIRST_PAUSE_SECONDS)
                self._turns = {turn: whose for turn, whose in self._turns.items() if not turn.done()}
            if self._turns:
                await asyncio.wait(self._turns)
        finally:
            ending.cancel()
            beating.cancel()
            for turn in self._turns:
                turn.cancel()
            await asyncio.gather(*self._turns, ending, beating, return_exceptions=True)

    async def _fill(self, ending: asyncio.Task[bool]) -> None:
        """Start turns while there is room and turns are due, then wait until there is something to do."""
        free = self._concurrency - len(self._turns)
        claimed = await self._claim(free) if free else []
        self._turns |= {asyncio.create_task(self._turn(turn)): turn.pairing_id for turn in claimed}
        if len(claimed) < free or not free:
            await self._pause(ending, free)

    async def _beat(self) -> None:
        """Renew the leases of running turns. An unavailable journal ends nothing: then others may take these turns,
        too."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if turns := {whose for turn, whose in self._turns.items() if not turn.done()}:
                try:
                    await self._journal.hold(turns, time.time() + LEASE_SECONDS)
                except Exception as error:
                    self._count(error)

    async def _claim(self, free: int) -> list[Turn]:
        """Lease due turns. While the recorder is to be left alone, only interrupted ones: an unanswered refresh must be
        repeated in time."""
        now = time.time()
        interrupted = self._rest.left(time.monotonic()) > 0
        return await self._journal.claim(now, now + LEASE_SECONDS, free, interrupted=interrupted)

    async def _pause(self, ending: asyncio.Task[bool], free: int) -> None:
        """Wait until there is something to do: a turn has ended, another is due, or it is time to check."""
        wait, rest = LOOK_SECONDS, self._rest.left(time.monotonic())
        if rest:
            wait = min(BEAT_SECONDS, rest)
        elif free and (due := await self._journal.next_due()) is not None:
            wait = min(wait, max(0.01, due - time.time()))
        await asyncio.wait({*self._turns, ending}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)

    async def _follow(self) -> None:
        """Add new pairings. Many at once are spread over the interval."""
        known = set(await self._journal.pairings())
        new = [one for one in await self._tokens.pairings() if one not in known]
        gap = self._interval / len(new) if len(new) > self._concurrency else 0.0
        now = time.time()
        for number, pairing_id in enumerate(new):
            await self._journal.add(pairing_id, now + number * gap)

    async def _hasten(self) -> None:
        """Bring turns forward, at the start and when the clock was set back: due times from a clock that was ahead
        would keep pairings waiting until then."""
        ahead = time.time() - time.monotonic()
        if ahead < self._ahead - SET_BACK_SECONDS:
            await self._journal.hasten(time.time(), max(self._interval, LEASE_SECONDS))  # leases stay as they are
        self._ahead = ahead

    async def _turn(self, turn: Turn) -> None:
        """Poll one pairing. Any error is left to the next turn and never ends the service.

        A turn whose end the journal could not store counts as interrupted.
        """
        try:
            await self._take(turn)
        except Exception as error:
            self._count(error)

    async def _take(self, turn: Turn) -> None:
        """Poll, and store when the next turn is due."""
        self.figures.turns += 1
        began, failures, whole = time.time(), 0, turn.whole
        late = began - turn.due > self._interval / 4
        try:
            answered, looked_at_all = await self._poll(turn, began)
            due = answered + self._interval * (1 + random.uniform(0, 1 if late else JITTER))  # noqa: S311 - so that turns spread again
            whole = began if looked_at_all else whole
            self._rest.answered()
        except PairingEnded:
            self._rest.answered()
            await self._end(turn, began)
            return
        except (Throttled, Unreachable) as error:
            self._count(error)
            if isinstance(error, Busy):
                self._rest.refused(turn.pairing_id, error.retry_seconds, time.monotonic())
            elif isinstance(error, Throttled):
                self._rest.answered()
            if turn.interrupted or isinstance(error, Unanswered):
                await self._journal.hold([turn.pairing_id], time.time() + _soon(error))
                return
            due, failures = self._later(error, turn)
        except asyncio.CancelledError:
            await self._journal.hold([turn.pairing_id], turn.due)
            raise
        except Exception as error:  # also one of the callback
            self._count(error)
            due, failures = self._later(error, turn)
        await self._journal.settle(turn.pairing_id, due, failures, whole)

    def _later(self, error: Exception, turn: Turn) -> tuple[float, int]:
        """When to try again, and the number of consecutive failures so far."""
        if isinstance(error, Throttled):
            return time.time() + error.retry_seconds + random.uniform(0, 1), 0  # noqa: S311
        pause = min(self._interval, FIRST_PAUSE_SECONDS * 2 ** min(turn.failures, 20))
        return time.time() + pause * random.uniform(0.75, 1.25), turn.failures + 1  # noqa: S311

    async def _poll(self, turn: Turn, began: float) -> tuple[float, bool]:
        """Deliver what is new. Returns when the first response arrived (the Grace-Period runs from then), and whether
        this was a full search."""
        cursor = turn.cursor
        if not cursor.following and abs(began - turn.whole) >= self._whole_seconds:  # or the clock was ahead
            cursor = cursor.whole()
        answered, looked_at_all = 0.0, cursor.seen is not None or not (cursor.since or cursor.following)
        recorder = Recorder(self._diga, self._http, self._tokens, turn.pairing_id, patience=0.0, history=self._history)
        async for step in recorder.steps(cursor):
            answered = answered or time.time()
            if step.changes:
                await self._hand_over(turn.pairing_id, step)
            await self._journal.keep(turn.pairing_id, step.cursor, time.time() + LEASE_SECONDS)
        return answered, looked_at_all

    async def _hand_over(self, pairing_id: str, step: Step) -> None:
        news = News(pairing_id, step.changes, step.cursor, step.unshown)
        for pause in DELIVERY_PAUSES:
            try:
                await self._deliver(news)
                break
            except Exception as error:
                self._count(error)
                await asyncio.sleep(pause)
        else:
            await self._deliver(news)
        self.figures.changes += len(news.changes)

    async def _end(self, turn: Turn, began: float) -> None:
        """Report the end, then forget the tokens, unless the patient has paired again meanwhile. In that case there is
        nothing to report; if it was reported already, everything is delivered again, since the receiver may have
        deleted its data."""
        try:
            if await self._over(turn.pairing_id):
                await self._ended(turn.pairing_id)
                async with self._tokens.alone(turn.pairing_id):
                    if over := await self._over(turn.pairing_id):
                        await self._tokens.forget(turn.pairing_id)
                # Outside the block: its lock may hold a connection of the pool that the journal uses, too.
                await self._journal.remove(turn.pairing_id)
                self.figures.ended += 1
                if not over:
                    await self._journal.add(turn.pairing_id, began)
                return
        except Exception as error:
            self._count(error)
        await self._journal.settle(turn.pairing_id, began + FIRST_PAUSE_SECONDS, turn.failures + 1, turn.whole)

    async def _over(self, pairing_id: str) -> bool:
        """Whether there are no tokens, or none that can be used."""
        grant = await self._tokens.load(pairing_id)
        return grant is None or grant.ended

    def _count(self, error: Exception) -> None:
        """Pairing ids are pseudonyms of patients, so they are not logged."""
        self.figures.failures += 1
        name = type(error).__name__
        self.figures.last_errors[name] = self.figures.last_errors.get(name, 0) + 1
        with suppress(Exception):
            if isinstance(error, ClientError):
                log.info("client.turn_refused", extra={"error": name})
            else:
                log.warning("client.turn_failed", extra={"error": name})


def _soon(error: Throttled | Unreachable) -> float:
    """Seconds until a turn is tried again in which a refresh may have been carried out without a response."""
    return error.retry_seconds if isinstance(error, Throttled | Unanswered) else FIRST_PAUSE_SECONDS / 2
