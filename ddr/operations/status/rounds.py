"""A worker's rounds: it checks itself, reports its findings, and stores what began and ended (OPS-001, OPS-008)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from uuid import uuid4

from ddr.http.core import Core
from ddr.http.watch import UNAVAILABLE
from ddr.operations.status import board, checks
from ddr.operations.status.functions import HOLDUP, NAMES, expanded
from ddr.operations.status.troubles import as_json
from ddr.store.database.clock import steady_ms
from ddr.store.outages import events, reports
from ddr.store.outages.events import Event

EVERY_SECONDS = 5.0
GAP_MS = 60_000  # if no worker reported for this long, none was serving
TELL_SECONDS = 40.0  # for the database to take a report: a worker waiting for it still checks itself within GAP_MS
STOPPED = "recorder-stopped"


def host_of(core: Core) -> str:
    """This installation on this machine."""
    return f"{socket.gethostname()}:{core.settings.diga_port}"


class Rounds:
    """The rounds of one worker. `core` is an argument since rooms are exchanged; `steady` is a clock that nobody
    sets."""

    def __init__(self, steady: Callable[[], int] = steady_ms) -> None:
        self.run = uuid4()  # this process
        self._refused = 0
        self._steady = steady
        self._looked_ms = self._runs_ms = steady()  # the last check, and since when there was no gap between checks
        self._told_ms: int | None = None  # `_runs_ms` at the last report
        self._stood_ms: int | None = None  # until when ingestion was unavailable, as of the last report

    async def look(self, core: Core) -> None:
        """Run the checks. They need no database, so they also work without it."""
        steady_now_ms = self._steady()
        if steady_now_ms - self._looked_ms > GAP_MS:
            self._runs_ms = steady_now_ms
        self._looked_ms = steady_now_ms
        found = await checks.look(core, self._refused)
        self._refused = core.admission.refused
        core.watch.note(found, core.clock())

    async def tell(self, core: Core) -> None:
        """Report to all, and store what began or ended."""
        now_ms, pool = core.clock(), core.pool
        raised = core.watch.raised().values()
        told, quiet = [as_json(one) for one in raised], {one.key: one.last_ms for one in raised if one.last_ms}
        closed = bool(core.settings.maintenance)
        last_ms = await reports.write(pool, host_of(core), core.fleet.number, now_ms, told, closed, self.run, quiet)
        ran, self._told_ms = self._told_ms == self._runs_ms, self._runs_ms
        # A worker that has checked itself without a gap since its last report did not stop: the clock leapt, or the
        # database was unavailable, which is reported as such.
        if last_ms is not None and now_ms - last_ms > GAP_MS and not ran:
            await events.add(pool, _stopped(core, last_ms, now_ms))
        seen = await board.shared(core)
        found = {
            one.key: Event(one.key, one.state, one.functions, one.cause, one.cause_de, one.since_ms or now_ms)
            for one in seen.troubles
        }
        over_ms = dict(core.watch.over_ms)
        if self._stood_ms is not None:  # data is late until it can be accepted again
            over_ms |= {f"{HOLDUP}{miv.name}": self._stood_ms for miv in core.catalog.mivs}
        self._stood_ms = seen.stood_ms
        await events.follow(pool, found, over_ms, now_ms)
        await reports.sweep(pool, now_ms)

    async def once(self, core: Core) -> None:
        await self.look(core)
        async with asyncio.timeout(TELL_SECONDS):
            await self.tell(core)


def _stopped(core: Core, from_ms: int, until_ms: int) -> Event:
    told = ("The recorder was not running", "Der Recorder lief nicht")
    return Event(STOPPED, UNAVAILABLE, expanded(NAMES, core.catalog), *told, from_ms, until_ms)
