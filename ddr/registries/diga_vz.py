"""The allow list of DiGA: each worker has an immutable snapshot of the stored DiGA-VZ, replaced when that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import asyncpg
import httpx

from ddr.registries.certificates import fingerprint
from ddr.registries.diga_reading import Reading, read_diga_vz
from ddr.registries.fhir_search import Known
from ddr.registries.follower import Follower
from ddr.registries.health_app import Entry
from ddr.registries.losses import judged, taken_away
from ddr.registries.snapshot import Snapshot, from_json, reconcile, snapshot, to_json
from ddr.scopes.diga import Diga
from ddr.settings import Settings
from ddr.store.authorization.unpairing import lose, unpair_client
from ddr.store.registries import losses as lost
from ddr.store.registries import sources as store

SOURCE = "diga-vz"
BEHIND_MS = 60_000  # longer than a worker may lag behind the stored state, including decisions in progress

log = logging.getLogger(__name__)


class DigaVz(Follower[Reading]):
    """The DiGA-VZ; its public methods are the look-ups of a TrustSource (ddr.http.core)."""

    source = SOURCE

    def __init__(self, settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int]) -> None:
        super().__init__(settings, pool, clock)
        self._snapshot = Snapshot()
        self._former: Mapping[str, str] = {}  # names of DiGA that no longer have an entry
        self._known: Known = {}
        self._compared = False  # with the consents, at least once

    def by_certificate(self, der: bytes) -> Diga | None:
        """The DiGA with exactly this certificate (DER), including inactive ones. None once it has expired: existing
        connections, and proxies that do not check, would let it through."""
        digest = fingerprint(der)
        known = self._snapshot.ends_ms.get(digest, 0) > self._clock()
        return self._snapshot.by_certificate.get(digest) if known else None

    def by_client_id(self, client_id: str) -> Diga | None:
        """The DiGA with this client id, including inactive ones."""
        return self._snapshot.by_client_id.get(client_id)

    def name_of(self, client_id: str) -> str | None:
        """The present or former name of the DiGA: patients' trails name it longer than anything else needs it."""
        diga = self.by_client_id(client_id)
        return diga.name if diga else self._former.get(client_id)

    def certificates(self) -> list[bytes]:
        """DER of every known certificate, including those of inactive DiGA (TLS-011)."""
        return list(self._snapshot.certificates)

    async def _read(self, http: httpx.AsyncClient) -> Reading:
        stored = await store.read_entries(self._pool, SOURCE)
        missed = {loss.client_id for loss in await lost.read(self._pool) if loss.valueset == lost.WHOLE}
        listed = {name for name, content in stored.items() if content["listed"]}
        return await read_diga_vz(http, self._settings.diga_vz_base.rstrip("/"), self._known, listed | missed)

    async def _save(self, read: Reading, began_ms: int, next_ms: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            known = [from_json(content) for content in (await store.read_entries(connection, SOURCE)).values()]
            # Verifies signatures, which takes a while when many certificates have the same name.
            entries = await asyncio.to_thread(reconcile, read.found.entries, known, began_ms, read.found.listed)
            stored = {entry.client_id: to_json(entry) for entry in entries}
            notes = [
                *read.found.notes,
                *(f"{entry.client_id}: {'; '.join(entry.problems)}" for entry in entries if entry.problems),
            ]
            lately = await self._changed_lately(connection, began_ms)
            changed = await store.save_reading(connection, SOURCE, stored, began_ms, next_ms, notes)
            for note in notes if changed else ():
                log.warning("registry.note", extra={"source": SOURCE, "note": note})
            if (await store.read_source(connection, SOURCE)).seen_ms == began_ms:
                await self._judge(connection, read, entries, began_ms, changed=changed or lately)
        await self.follow()  # refuse from now on, however long ending many takes
        await carry_out(self._pool, self._clock())

    async def _changed_lately(self, connection: asyncpg.Connection, began_ms: int) -> bool:
        """Whether the reading before this one, or any in the last minute, took something away.

        A worker that had not followed it yet may have let a patient agree to exactly that after the consents were
        compared.
        """
        last_ms = (await store.read_source(connection, SOURCE)).seen_ms
        return await store.changed_since(connection, SOURCE, min(last_ms, began_ms - BEHIND_MS))

    async def _judge(
        self, connection: asyncpg.Connection, read: Reading, entries: Sequence[Entry], now_ms: int, *, changed: bool
    ) -> None:
        """Store what was taken away, in the transaction of the reading, so that it will be carried out by some
        worker."""
        known = await lost.read(connection, lock=True)
        if not (changed or known or not self._compared):
            return
        use = await lost.in_use(connection)
        missing = taken_away(entries, read.answers, use, known)
        losses = judged(missing, known, use, now_ms, certain=read.found.certain)
        await lost.write(connection, losses)
        self._compared = True
        before = {loss.key for loss in known if loss.held_ms}
        for loss in losses:
            if loss.held_ms and loss.key not in before:
                detail = {"client_id": loss.client_id, "valueset": loss.valueset, "evidence": str(loss.evidence)}
                await store.record_event(connection, SOURCE, now_ms, "held", detail)
                log.error("registry.end_held", extra=detail)

    async def _changed(self) -> None:
        stored, former = await store.read_entries(self._pool, SOURCE), await store.read_former(self._pool, SOURCE)
        self._former = {client_id: content["name"] for client_id, content in former.items()}
        self._snapshot = await asyncio.to_thread(lambda: snapshot(map(from_json, stored.values())))


async def carry_out(pool: asyncpg.Pool, now_ms: int) -> None:
    """Carry out decided ends (CON-014, REG-011); after a fault, the rest is carried out after the next reading."""
    for loss in await lost.read(pool):
        if not loss.decided:
            continue
        if loss.valueset == lost.WHOLE:
            ended = await unpair_client(pool, loss.client_id, "diga-unlisted", now_ms)
            detail = {"client_id": loss.client_id, "pairings": ended}
            if ended:
                await store.record_event(pool, SOURCE, now_ms, "unpaired", detail)
                log.warning("registry.unpaired", extra=detail)
        else:
            ended = await lose(pool, loss.client_id, loss.valueset, now_ms)
            detail = {"client_id": loss.client_id, "valueset": loss.valueset, "consents": ended}
            if ended:
                await store.record_event(pool, SOURCE, now_ms, "consents-ended", detail)
                log.warning("registry.consents_ended", extra=detail)
        await lost.forget(pool, loss)
