"""The state of the service at a moment: read from the database, or, without it, as this worker knows it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ddr.durations import DAY_MS
from ddr.fhir.outages import LEFT
from ddr.http.core import Core
from ddr.http.watch import DEMOTED, UNAVAILABLE, Trouble
from ddr.operations.status import troubles
from ddr.operations.status.checks import DATABASE, database_away
from ddr.operations.status.functions import RETIRED, TOWARDS_DIGA
from ddr.store.credentials import register
from ddr.store.database.faults import FAULTS
from ddr.store.outages import events as events_store
from ddr.store.outages import notices as notices_store
from ddr.store.outages import reports as reports_store
from ddr.store.outages import retractions
from ddr.store.outages.events import Event
from ddr.store.outages.notices import Notice
from ddr.store.outages.retractions import LastWord
from ddr.store.registries import losses
from ddr.store.registries.sources import Source, read_sources

SECONDS = 2.0  # for the database to answer
GONE = (LEFT, "Dieser Device Data Recorder unterstützt die HDDT-Schnittstelle nicht mehr")
INCOMPLETE = Trouble(
    "status-incomplete",
    DEMOTED,
    [],
    "What other workers found cannot be read at the moment",
    "Was andere Arbeitsprozesse gefunden haben, ist zurzeit nicht lesbar",
)
MOST_A_SECOND = 10  # reads: many readers do not cause many statements
PAST_MS = 14 * DAY_MS  # how long past events, and retractions, are shown


@dataclass(frozen=True)
class Board:
    """Current, future and past events; instants in milliseconds.

    `retracted`: what operators lately retracted as untrue; `words`: their latest statements about a notice or an event.
    `stood_ms`: until when ingestion was unavailable; None: it is not told to be.
    """

    now_ms: int
    troubles: Sequence[Trouble]
    notices: Sequence[Notice]
    past: Sequence[Event] = ()
    retracted: Sequence[Notice | Event] = ()
    words: Mapping[str, LastWord] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    stood_ms: int | None = None

    @property
    def present(self) -> list[Notice]:
        """Notices in force."""
        return [one for one in self.notices if one.in_force(self.now_ms)]

    @property
    def to_come(self) -> list[Notice]:
        """Announced maintenance."""
        return [one for one in self.notices if one.to_come(self.now_ms)]

    @property
    def cancelled(self) -> list[Notice]:
        """Cancelled announcements."""
        since_ms = self.now_ms - PAST_MS
        return [one for one in self.notices if one.cancelled_ms is not None and one.cancelled_ms > since_ms]


class Reader:
    """Reads boards for all readers, one at a time and at most MOST_A_SECOND a second; concurrent readers share one."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._reading: asyncio.Task[Board] | None = None
        self._begun: deque[float] = deque([-math.inf] * MOST_A_SECOND, MOST_A_SECOND)

    async def board(self) -> Board:
        """The board of this moment, or of less than a second ago; never raises an error of the database."""
        now = time.monotonic()
        if self._reading is None or (self._reading.done() and now - self._begun[0] >= 1):
            self._begun.append(now)
            self._reading = asyncio.create_task(read(self._core))
        return await asyncio.shield(self._reading)


async def read(core: Core) -> Board:
    """Read the database; if it cannot be read within SECONDS, the board reports why.

    Requests that hold all connections may be the reason: the database itself is asked on a connection of its own.
    """
    try:
        async with asyncio.timeout(SECONDS):
            return await shared(core, _own(core))
    except FAULTS:
        answers, now_ms = await core.pool.ready(), core.clock()
        why = INCOMPLETE if answers else database_away(core, core.watch.first_ms(DATABASE) or now_ms)
        return _board(core, now_ms, [why, *_own(core)])


async def shared(core: Core, own: Sequence[Trouble] = ()) -> Board:
    """The board from what all workers can read, which is also what is stored; with `own`, also the troubles that only
    this worker knows so far.

    Raises the database's errors.
    """
    now_ms, pool = core.clock(), core.pool
    sources, held = await read_sources(pool), await losses.held(pool)
    await core.notices.read(pool, now_ms)
    present = [*own, *troubles.of_workers(await reports_store.read(pool), now_ms)]
    present += troubles.of_registries(core, sources, held, now_ms)
    present += troubles.of_credentials((await register.warnings(pool)).soon(now_ms))
    begun = await events_store.going_on(pool)
    core.notices.words = words = await retractions.newest(pool)
    board = _board(core, now_ms, present, begun)
    notices = {one.notice: one for one in core.notices.known}
    past = await events_store.between(pool, now_ms - PAST_MS, now_ms)
    ended = {one.name: one for one in past if one.until_ms is not None}
    recent = [name for name, word in words.items() if word.latest_ms > now_ms - PAST_MS]
    if recent:  # also those that are too old to be shown otherwise
        notices |= {one.notice: one for one in await notices_store.named(pool, recent)}
        ended |= {one.name: one for one in await events_store.named(pool, recent)}
    retracted = {name for name, word in words.items() if word.retracted}
    return replace(
        board,
        notices=[one for name, one in notices.items() if name not in retracted],
        past=[one for name, one in ended.items() if name not in retracted],
        retracted=[one for name, one in (notices | ended).items() if name in retracted and name in recent],
        sources=sources,
    )


def _board(core: Core, now_ms: int, present: list[Trouble], begun: Mapping[str, int] | None = None) -> Board:
    """The present troubles, one per key, the worst first, and the notices in force.

    They include those set by an operator, and the data of each MIV that has been held up for too long. `begun`: since
    when each key has been stored as ongoing; the earlier instant counts.
    """
    by_key = {
        key: replace(one, since_ms=troubles.earliest((begun or {}).get(key), one.since_ms))
        for key, one in troubles.merged([*present, *_setting(core)]).items()
    }
    standstills = troubles.standing_still(by_key.values(), now_ms)
    standstills += [
        troubles.Standstill(one.from_ms, now_ms)
        for one in core.notices.known
        if one.in_force(now_ms) and one.state == UNAVAILABLE and "ingestion" in one.functions
    ]
    by_key |= {one.key: one for one in troubles.beyond_holdup(core, standstills)}
    order = {UNAVAILABLE: 0, DEMOTED: 1}
    shown = sorted((troubles.named(one, core) for one in by_key.values()), key=lambda one: (order[one.state], one.key))
    words = core.notices.words
    notices = [one for one in core.notices.known if (word := words.get(one.notice)) is None or not word.retracted]
    stood_ms = max((one.until_ms for one in standstills), default=None)
    return Board(now_ms, shown, notices, words=words, stood_ms=stood_ms)


def _own(core: Core) -> list[Trouble]:
    """What this worker knows itself, a moment before the others."""
    return [*troubles.of_this_host(core, core.clock()), *core.watch.raised().values()]


def _setting(core: Core) -> list[Trouble]:
    """What an operator has set: maintenance, and that the recorder is retired."""
    text = core.settings.maintenance
    found = [Trouble("maintenance", UNAVAILABLE, TOWARDS_DIGA, text, text)] if text else []
    return [*found, Trouble(RETIRED, UNAVAILABLE, TOWARDS_DIGA, *GONE)] if core.settings.retired else found
