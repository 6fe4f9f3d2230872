"""One worker reads the DiGA-VZ for all: whose turn it is, what is stored, and what follows from it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

import asyncpg
import httpx

from ddr.registries.diga_reading import read_diga_vz
from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import http_client
from ddr.registries.health_app import Entry
from ddr.registries.snapshot import from_json, reconcile, to_json
from ddr.settings import Settings
from ddr.store import registry as store
from ddr.store.unpairing import unpair_client

SOURCE = "diga-vz"
READING_SECONDS = 120  # longest time for one reading; the lease lasts longer, so that two never overlap
LEASE_SECONDS = 150
RETRY_SECONDS = 60  # after a failed reading

log = logging.getLogger(__name__)


async def take_turn(settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int], due_ms: int = 0) -> bool:
    """Read the registry if it is due (`due_ms`, as last seen) and no other worker does. True when this one did."""
    now_ms = clock()
    if due_ms > now_ms or not await store.claim(pool, SOURCE, now_ms, LEASE_SECONDS * 1000):
        return False
    await refresh(settings, pool, clock)
    return True


async def refresh(settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int]) -> None:
    """Read the registry now and store the outcome. A fault is noted and leaves the last good state in force."""
    began_ms = clock()
    try:
        read, unreadable = await _read(settings)
    except RegistryFault as error:
        log.warning("registry.fault source=%s fault=%s", SOURCE, error)
        await store.save_fault(pool, SOURCE, str(error), began_ms, clock() + RETRY_SECONDS * 1000)
        return
    for note in unreadable:
        log.warning("registry.unreadable source=%s note=%s", SOURCE, note)
    # Jitter, so that recorders do not ask in step.
    next_ms = clock() + int(settings.registry_refresh_seconds * 1000 * random.uniform(0.8, 1))  # noqa: S311
    async with pool.acquire() as connection, connection.transaction():
        entries = await _save(connection, read, began_ms, next_ms)
    await _unpair_unlisted(pool, entries, clock())


async def _read(settings: Settings) -> tuple[list[Entry], list[str]]:
    try:
        async with asyncio.timeout(READING_SECONDS), http_client(settings) as http:
            return await read_diga_vz(http, settings.diga_vz_base.rstrip("/"))
    except TimeoutError:
        raise RegistryFault(f"no complete answer within {READING_SECONDS} s") from None
    except (OSError, httpx.InvalidURL) as error:
        raise RegistryFault(f"cannot be asked with these settings: {error}") from None


async def _save(connection: asyncpg.Connection, read: list[Entry], began_ms: int, next_ms: int) -> list[Entry]:
    known = [from_json(content) for content in (await store.read_entries(connection, SOURCE)).values()]
    entries = reconcile(read, known, began_ms)
    stored = {entry.client_id: to_json(entry) for entry in entries}
    if await store.save_reading(connection, SOURCE, stored, began_ms, next_ms):
        for entry in entries:
            if entry.problems:
                log.warning("registry.problem client_id=%s problem=%s", entry.client_id, "; ".join(entry.problems))
    return entries


async def _unpair_unlisted(pool: asyncpg.Pool, entries: Iterable[Entry], now_ms: int) -> None:
    """End the pairings of every DiGA that is retired or gone (CON-014); after each reading, so that none is missed.

    A DiGA that only a broken entry disables keeps its pairings: it is refused until the entry is repaired.
    """
    for entry in entries:
        if not entry.listed and (ended := await unpair_client(pool, entry.client_id, "diga-unlisted", now_ms)):
            log.warning("registry.unpaired client_id=%s pairings=%d", entry.client_id, ended)
