"""The allow list of DiGA: an immutable snapshot of the stored DiGA-VZ in every worker, swapped when that changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import asyncpg
import httpx

from ddr.registries.certificates import fingerprint
from ddr.registries.diga_reading import read_diga_vz
from ddr.registries.fhir_search import Known
from ddr.registries.follower import Follower
from ddr.registries.health_app import Entry
from ddr.registries.snapshot import Snapshot, from_json, reconcile, snapshot, to_json
from ddr.scopes.diga import Diga
from ddr.settings import Settings
from ddr.store.authorization.unpairing import unpair_client
from ddr.store.registries import sources as store

SOURCE = "diga-vz"

log = logging.getLogger(__name__)


class DigaVz(Follower[tuple[list[Entry], list[str]]]):
    """The DiGA-VZ; what it offers are the look-ups of a TrustSource (ddr.http.core)."""

    source = SOURCE

    def __init__(self, settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int]) -> None:
        super().__init__(settings, pool, clock)
        self._snapshot = Snapshot()
        self._known: Known = {}

    def by_certificate(self, der: bytes) -> Diga | None:
        """The DiGA that holds exactly this certificate (DER), inactive ones included."""
        return self._snapshot.by_certificate.get(fingerprint(der))

    def by_client_id(self, client_id: str) -> Diga | None:
        """The DiGA with this client id, inactive ones included."""
        return self._snapshot.by_client_id.get(client_id)

    def certificates(self) -> list[bytes]:
        """DER of every known certificate, those of inactive DiGA included (TLS-011)."""
        return list(self._snapshot.certificates)

    def entries(self) -> tuple[Entry, ...]:
        """All known entries with their problems, for operators."""
        return self._snapshot.entries

    @property
    def _every_seconds(self) -> int:
        return self._settings.registry_refresh_seconds

    @property
    def _max_age_seconds(self) -> int:
        return self._settings.registry_max_age_seconds

    async def _read(self, http: httpx.AsyncClient) -> tuple[list[Entry], list[str]]:
        return await read_diga_vz(http, self._settings.diga_vz_base.rstrip("/"), self._known)

    async def _save(self, read: tuple[list[Entry], list[str]], began_ms: int, next_ms: int) -> None:
        found, unreadable = read
        async with self._pool.acquire() as connection, connection.transaction():
            known = [from_json(content) for content in (await store.read_entries(connection, SOURCE)).values()]
            entries = reconcile(found, known, began_ms)
            stored = {entry.client_id: to_json(entry) for entry in entries}
            notes = [
                *unreadable,
                *(f"{entry.client_id}: {'; '.join(entry.problems)}" for entry in entries if entry.problems),
            ]
            if await store.save_reading(connection, SOURCE, stored, began_ms, next_ms, notes):
                for note in notes:
                    log.warning("registry.note", extra={"source": SOURCE, "note": note})
        await _unpair_unlisted(self._pool, entries, self._clock())

    async def _changed(self) -> None:
        stored = await store.read_entries(self._pool, SOURCE)
        self._snapshot = snapshot(map(from_json, stored.values()))


async def _unpair_unlisted(pool: asyncpg.Pool, entries: Iterable[Entry], now_ms: int) -> None:
    """End the pairings of every DiGA that is retired or gone (CON-014); after each reading, so that none is missed.

    A DiGA that only a broken entry disables keeps its pairings: it is refused until the entry is repaired.
    """
    for entry in entries:
        if not entry.listed and (ended := await unpair_client(pool, entry.client_id, "diga-unlisted", now_ms)):
            detail = {"client_id": entry.client_id, "pairings": ended}
            await store.record_event(pool, SOURCE, now_ms, "unpaired", detail)
            log.warning("registry.unpaired", extra=detail)
