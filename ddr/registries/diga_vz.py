"""The allow list of DiGA: an immutable snapshot of the stored DiGA-VZ in every worker, swapped when that changes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import asyncpg

from ddr.registries.certificates import fingerprint
from ddr.registries.health_app import Entry
from ddr.registries.refresh import SOURCE, take_turn
from ddr.registries.snapshot import Snapshot, from_json, snapshot
from ddr.scopes.diga import Diga
from ddr.settings import Settings
from ddr.store import registry as store

FOLLOW_SECONDS = 2.0  # how often a worker looks whether another one has read something new
START_SECONDS = 20  # how long a starting worker waits for the first reading

log = logging.getLogger(__name__)


class DigaVz:
    """A TrustSource (ddr.http.core): `start` it, then keep `run` going beside the listeners."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int]) -> None:
        self._settings, self._pool, self._clock = settings, pool, clock
        self._snapshot = Snapshot()
        self._generation = -1

    def by_certificate(self, der: bytes) -> Diga | None:
        """The DiGA that holds exactly this certificate (DER), inactive ones included."""
        return self._snapshot.by_certificate.get(fingerprint(der))

    def by_client_id(self, client_id: str) -> Diga | None:
        """The DiGA with this client id, inactive ones included."""
        return self._snapshot.by_client_id.get(client_id)

    def stale(self, now_ms: int) -> bool:
        """True when nothing was read within `registry_max_age_seconds` (HDDT caching of trust-related information)."""
        return now_ms - self._snapshot.seen_ms > self._settings.registry_max_age_seconds * 1000

    def certificates(self) -> list[bytes]:
        """DER of every known certificate, those of inactive DiGA included (TLS-011)."""
        return list(self._snapshot.certificates)

    def entries(self) -> tuple[Entry, ...]:
        """All known entries with their problems, for operators."""
        return self._snapshot.entries

    async def start(self) -> None:
        """Take over the stored state; when it is stale, wait a while for a reading by this worker or another."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while (await self.step()).fault is None and self.stale(self._clock()):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)  # another process may be reading

    async def run(self) -> None:
        """Follow the stored state and take turns in reading the registry, until cancelled."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS * random.uniform(0.5, 1))  # noqa: S311 - jitter
            try:
                await self.step()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("registry.store_unavailable source=%s error=%s", SOURCE, type(error).__name__)

    async def step(self) -> store.Source:
        """Catch up with the stored state, and read the registry when that is due. Returns the state now in force."""
        state = await self._follow()
        if await take_turn(self._settings, self._pool, self._clock, state.next_ms):
            state = await self._follow()
        return state

    async def _follow(self) -> store.Source:
        state = await store.read_source(self._pool, SOURCE)
        if state.generation == self._generation:
            self._snapshot = replace(self._snapshot, seen_ms=state.seen_ms)
        else:
            stored = await store.read_entries(self._pool, SOURCE)
            self._snapshot = snapshot(map(from_json, stored.values()), state.seen_ms)
            self._generation = state.generation
        return state
