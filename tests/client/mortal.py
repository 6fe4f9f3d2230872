"""Processes of a DiGA that can be killed in virtual time: what was on the disk stays, everything else never happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from ddr.client import Change, Cursor, Grant, News, Watch
from ddr.client.journal import Turn
from tests.client.crowd import Crowd
from tests.client.foreign import DIGA

WRITE_SECONDS = 0.01
LOOK_SECONDS = 0.05


class Died(Exception):
    """Ends what a dead process had left, when all is over."""


class Life:
    """Whoever is dead does nothing more: his tasks wait until all is over."""

    def __init__(self) -> None:
        self.dead, self._over = False, asyncio.Event()

    async def alive(self) -> None:
        """Returns to the living."""
        if self.dead:
            await self._over.wait()
            raise Died

    def bury(self) -> None:
        """All is over."""
        self._over.set()


@dataclass
class Row:
    """A pairing in the journal."""

    cursor: Cursor = field(default_factory=Cursor)
    failures: int = 0
    whole: float = 0.0
    lent: bool = False


@dataclass
class Disk:
    """What outlives processes. `due`: seconds since 1970, beside the rows because it is looked for so often. `locks`:
    whose they are; the system drops those of the dead."""

    grants: dict[str, Grant] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    told: list[tuple[str, Change]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    locks: dict[str, Life] = field(default_factory=dict)


class MortalTokens:
    """A PairingStore of one process (the contract: ddr/client/tokens.py)."""

    def __init__(self, disk: Disk, life: Life) -> None:
        self._disk, self._life = disk, life

    async def pairings(self) -> list[str]:
        await self._life.alive()
        return sorted(self._disk.grants)

    async def load(self, pairing_id: str) -> Grant | None:
        await self._life.alive()
        return self._disk.grants.get(pairing_id)

    async def save(self, grant: Grant) -> None:
        await asyncio.sleep(WRITE_SECONDS)
        await self._life.alive()
        self._disk.grants[grant.pairing_id] = grant

    async def forget(self, pairing_id: str) -> None:
        await self._life.alive()
        self._disk.grants.pop(pairing_id, None)

    @asynccontextmanager
    async def alone(self, pairing_id: str) -> AsyncIterator[None]:
        await self._life.alive()
        while (holder := self._disk.locks.get(pairing_id)) and not holder.dead:
            await asyncio.sleep(LOOK_SECONDS)
            await self._life.alive()
        self._disk.locks[pairing_id] = self._life
        try:
            yield
        finally:
            if not self._life.dead:
                del self._disk.locks[pairing_id]


class MortalJournal:
    """A Journal of one process (the contract: ddr/client/journal.py; tests/client/test_journal.py holds it to that)."""

    def __init__(self, disk: Disk, life: Life) -> None:
        self._disk, self._life = disk, life

    async def pairings(self) -> list[str]:
        await self._life.alive()
        return sorted(self._disk.rows)

    async def add(self, pairing_id: str, due: float) -> None:
        await self._life.alive()
        self._disk.rows.setdefault(pairing_id, Row())
        self._disk.due.setdefault(pairing_id, due)

    async def remove(self, pairing_id: str) -> None:
        await self._life.alive()
        self._disk.rows.pop(pairing_id, None)
        self._disk.due.pop(pairing_id, None)

    async def claim(self, now: float, until: float, most: int, *, interrupted: bool = False) -> list[Turn]:
        await self._life.alive()
        rows, due = self._disk.rows, self._disk.due
        waiting = [(not rows[name].lent, at, name) for name, at in due.items() if at <= now]
        found = list[Turn]()
        for fresh, at, name in sorted(waiting)[:most]:
            if not (fresh and interrupted):
                row = rows[name]
                found.append(Turn(name, row.cursor, at, row.failures, row.whole, row.lent))
                due[name], row.lent = until, True
        return found

    async def hold(self, pairing_ids: Collection[str], until: float) -> None:
        await self._life.alive()
        for name in pairing_ids:
            if (row := self._disk.rows.get(name)) and row.lent:
                self._disk.due[name] = until

    async def keep(self, pairing_id: str, cursor: Cursor, until: float) -> None:
        await asyncio.sleep(WRITE_SECONDS)
        await self._life.alive()
        if row := self._disk.rows.get(pairing_id):
            row.cursor, self._disk.due[pairing_id] = cursor, until

    async def settle(self, pairing_id: str, due: float, failures: int, whole: float) -> None:
        await self._life.alive()
        if row := self._disk.rows.get(pairing_id):
            row.failures, row.whole, row.lent = failures, whole, False
            self._disk.due[pairing_id] = due

    async def hasten(self, now: float, interval: float) -> None:
        await self._life.alive()
        for name, due in self._disk.due.items():
            if due > now + 2 * interval:
                self._disk.due[name] = now + (due - now) % interval

    async def next_due(self) -> float | None:
        await self._life.alive()
        return min(self._disk.due.values(), default=None)

    async def cursor(self, pairing_id: str) -> Cursor | None:
        await self._life.alive()
        row = self._disk.rows.get(pairing_id)
        return None if row is None else row.cursor


class Process:
    """One process with a Watch."""

    def __init__(self, disk: Disk, crowd: Crowd, **options: Any) -> None:
        self._disk, self._crowd, self._life, self._stop = disk, crowd, Life(), asyncio.Event()
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(self._ask), trust_env=False)
        stores = MortalTokens(disk, self._life), MortalJournal(disk, self._life)
        watch = Watch(DIGA, self._http, *stores, self._take, ended=self._end, **options)
        self.running = asyncio.create_task(watch.run(self._stop))

    def kill(self) -> None:
        """Without a word: nothing that it was about to do is done, but what it has sent is sent."""
        self._life.dead = True
        self.running.cancel()  # its timers; whatever it does in the face of that is not done either

    async def stop(self) -> None:
        """As SIGTERM does; of a dead process, its remains."""
        self._stop.set()
        self._life.bury()
        await asyncio.gather(self.running, return_exceptions=self._life.dead)
        await self._http.aclose()

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        await self._life.alive()
        try:
            sent = asyncio.create_task(self._crowd.answer(request))
            sent.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody asks for a dead one's
            return await asyncio.shield(sent)
        finally:
            await self._life.alive()

    async def _take(self, news: News) -> None:
        await self._life.alive()
        self._disk.told += [(news.pairing_id, change) for change in news.changes]
        await asyncio.sleep(WRITE_SECONDS)
        await self._life.alive()

    async def _end(self, pairing_id: str) -> None:
        await self._life.alive()
        self._disk.ended.append(pairing_id)
