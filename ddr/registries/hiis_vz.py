"""Follows this recorder's own entry in the HIIS-VZ, and compares it with the settings.

No request of a DiGA relies on this data, so that nothing is refused because of its age; the operator is warned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import asyncpg
import httpx

from ddr.miv.model import MivCatalog
from ddr.registries.errors import RegistryFault
from ddr.registries.extensions import identifiers
from ddr.registries.fhir_search import search_all
from ddr.registries.follower import Follower
from ddr.registries.hiis import (
    ENDPOINT,
    HIIS_ID,
    RECORDER,
    Registration,
    differences,
    read_registration,
    registration,
)
from ddr.settings import Settings
from ddr.store.registries import sources as store

SOURCE = "hiis-vz"

log = logging.getLogger(__name__)


async def registered(http: httpx.AsyncClient, settings: Settings) -> Registration | None:
    """The HIIS-VZ's entry of this recorder, None when there is none. Raises RegistryFault."""
    base = settings.hiis_vz_base.rstrip("/")
    wanted = {"identifier": f"{HIIS_ID}|{settings.hiis_id}", "_profile": RECORDER}
    definitions = await search_all(http, f"{base}/DeviceDefinition", wanted)
    found = [one for one in definitions if settings.hiis_id in identifiers(one, HIIS_ID)]  # others are ignored
    if len(found) > 1:
        raise RegistryFault(f"has {len(found)} recorders with the number {settings.hiis_id}")
    endpoints = await search_all(http, f"{base}/Endpoint", {"_profile": ENDPOINT}) if found else []
    return read_registration(found[0], endpoints) if found else None


def complaints(own: Registration, theirs: Registration | None, hiis_id: str) -> list[str]:
    """The differences, or that there is no entry."""
    return [f"has no recorder {hiis_id}"] if theirs is None else differences(own, theirs)


class HiisVz(Follower[Registration | None]):
    """The own entry; differences become the notes of this source."""

    source = SOURCE

    def __init__(
        self, settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int], catalog: Callable[[], MivCatalog]
    ) -> None:
        super().__init__(settings, pool, clock)
        self._catalog = catalog

    async def _read(self, http: httpx.AsyncClient) -> Registration | None:
        return await registered(http, self._settings)

    async def _save(self, read: Registration | None, began_ms: int, next_ms: int) -> None:
        notes = complaints(registration(self._settings, self._catalog()), read, self._settings.hiis_id)
        for note in notes:
            log.warning("registry.note", extra={"source": SOURCE, "note": note})
        entries = {} if read is None else {self._settings.hiis_id: _stored(read)}
        async with self._pool.acquire() as connection, connection.transaction():
            await store.save_reading(connection, SOURCE, entries, began_ms, next_ms, notes)


def _stored(read: Registration) -> Mapping[str, Any]:
    return {
        "endpoints": {kind: asdict(address) for kind, address in read.endpoints.items()},
        "mivs": {url: terms and asdict(terms) for url, terms in read.mivs.items()},
    }
