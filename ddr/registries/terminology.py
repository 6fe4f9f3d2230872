"""Follows the ZTS: fetches and stores new versions of MIV ValueSets. Codes that they remove are out of force at once;
codes that they add wait for the operator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import asyncpg
import httpx

from ddr.miv.loader import load_catalog
from ddr.miv.model import Miv, MivCatalog, MivError
from ddr.miv.versions import Difference, MivVersion, compared, contained, unknown_mivs
from ddr.registries.archive import Archive, BadArchive
from ddr.registries.errors import RegistryFault
from ddr.registries.follower import Follower
from ddr.registries.narrowing import narrow
from ddr.registries.zts import Published, deprecations, download, newest, packages
from ddr.settings import Settings
from ddr.store.database.pool import Connection
from ddr.store.registries import sources as store
from ddr.store.registries import terminology

SOURCE = terminology.SOURCE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """A stored version that is newer than the one in force; `problem`: why it cannot be activated as it is."""

    miv: Miv  # in force
    version: MivVersion
    origin: str
    difference: Difference
    problem: str = ""


@dataclass(frozen=True)
class Read:
    """One reading of the ZTS."""

    published: Sequence[Published]
    fetched: Sequence[tuple[Published, Archive, str]]  # with the SHA-256 of the archive
    deprecated: Sequence[str]
    unread: Sequence[str]  # the newest packages that could not be fetched or opened, and why
    gone: Sequence[str] = ()  # packages that the ZTS no longer knows


async def current_catalog(settings: Settings, pool: asyncpg.Pool) -> MivCatalog:
    """The catalogue with the versions that are in force. Raises MivError."""
    return load_catalog(settings.miv_packages, settings.miv, await terminology.in_force(pool))


class Zts(Follower[Read]):
    """The ZTS as a worker sees it; `catalog` is in force, `exchanged` is called when it changes."""

    source = SOURCE
    sends_token = False

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        clock: Callable[[], int],
        catalog: MivCatalog,
    ) -> None:
        super().__init__(settings, pool, clock)
        self.catalog = catalog
        self.exchanged: Callable[[MivCatalog], None] = lambda _: None
        self._mark = -1

    @property
    def _every_seconds(self) -> int:
        return self._settings.zts_refresh_seconds

    @property
    def _max_age_seconds(self) -> int:
        return self._settings.zts_max_age_seconds

    async def follow(self) -> None:
        await super().follow()
        mark = await terminology.mark(self._pool)
        if mark == self._mark:
            return
        if self._mark >= 0:
            try:
                self.catalog = await current_catalog(self._settings, self._pool)
            except MivError as error:
                log.error("miv.not_exchanged", extra={"fault": str(error)})
            else:
                log.info("miv.exchanged", extra={one.name: one.version for one in self.catalog.mivs})
                self.exchanged(self.catalog)
        self._mark = mark

    async def _read(self, http: httpx.AsyncClient) -> Read:
        base = self._settings.zts_base.rstrip("/")
        stored = await store.read_entries(self._pool, SOURCE)
        before = {str(content["name"]) for content in stored.values() if "name" in content}
        published = await packages(http, base, [miv.valueset for miv in self.catalog.mivs], before)
        seen = await terminology.looked_into(self._pool)
        fetched, unread = [], list[str]()
        for package in newest(published):
            if package.label not in seen or seen[package.label] not in (None, package.shasum):  # or published again
                try:
                    fetched.append((package, *await download(http, base, package)))
                except (BadArchive, RegistryFault) as error:
                    unread.append(f"package {package.label}: {error}")
        names = sorted({package.name for package in published})
        titles = [title for name in names for title in await deprecations(http, base, name)]
        return Read(published, fetched, titles, unread, sorted(before.difference(names)))

    async def _save(self, read: Read, began_ms: int, next_ms: int) -> None:
        """Store what could be read. Unless that includes the newest version of every package, it does not count as a
        reading: the data in force becomes no younger, as if the registry had not answered (REG-007, REG-008)."""
        notes = [f"package {name} is no longer on the ZTS: the version in force stays in force" for name in read.gone]
        async with self._pool.acquire() as connection, connection.transaction():
            for package, archive, sha256 in read.fetched:
                held, told = await keep_all(connection, self.catalog, archive, package.label, sha256, began_ms)
                detail = {"package": package.label, "shasum": package.shasum, "sha256": sha256, "mivs": held}
                await store.record_event(connection, SOURCE, began_ms, "downloaded", detail)
                notes += told
        unusable = await narrow(self._settings, self._pool, read.published, self._clock())
        if faults := [*read.unread, *unusable]:
            await self._failed("; ".join(faults), began_ms)
            return
        catalog = await current_catalog(self._settings, self._pool)
        async with self._pool.acquire() as connection, connection.transaction():
            notes += [described(one) for one in await waiting(connection, catalog)]
            await store.save_reading(connection, SOURCE, _entries(read), began_ms, next_ms, notes)


async def keep_all(
    connection: asyncpg.Connection, catalog: MivCatalog, archive: Archive, origin: str, sha256: str, now_ms: int
) -> tuple[dict[str, str], list[str]]:
    """Store every version in `archive` that differs from the one in force. One with the name of a stored version but
    other content is stored beside it under a name of its own.

    Returns the version's name for each MIV in the archive, and what the operator should know.
    """
    kept = {(one.name, one.content.version): one.content for one in await terminology.stored_versions(connection)}
    notes = [
        f"package {origin} defines the MIV {url}, for which this recorder has no package"
        for url in unknown_mivs(archive.resources, (miv.valueset for miv in catalog.mivs))
    ]
    held: dict[str, str] = {}
    for miv in catalog.mivs:
        version = contained(archive.resources, miv.valueset)
        if version is None:
            continue
        version = MivVersion(version.version, version.valuesets, archive.meta)
        beside = replace(version, version=f"{version.version}+{sha256[:8]}")
        if version.version == miv.version:
            changed, problem = compared(miv, version)
            if changed or problem:
                notes.append(
                    f"package {origin}: MIV {miv.name} {miv.version} has different codes than the version in"
                    " force, although it has the same number"
                )
            if changed.removed:
                version = beside
        elif kept.get((miv.name, version.version), version).valuesets != version.valuesets:
            notes.append(
                f"package {origin}: MIV {miv.name} {version.version} differs from the stored one of the same number"
            )
            version = beside
        if version.version != miv.version:
            await terminology.keep(connection, miv.name, version, origin, sha256, now_ms)
        held[miv.name] = version.version
    return held, notes


async def waiting(connection: Connection, catalog: MivCatalog) -> list[Waiting]:
    """For each MIV the last version that came after the one in force and was never activated."""
    last = {one.name: one for one in await terminology.stored_versions(connection)}
    found = []
    for one in last.values():
        miv = catalog.by_name(one.name)
        if miv is not None and one.activated_ms is None and one.content.version != miv.version:
            changed, problem = compared(miv, one.content)
            found.append(Waiting(miv, one.content, one.origin, changed, problem))
    return found


def described(one: Waiting) -> str:
    """One line about a waiting version."""
    counts = f"{len(one.difference.added)} codes added, {len(one.difference.removed)} removed"
    return f"MIV {one.miv.name}: version {one.version.version} waits for activation ({counts})"


def _entries(read: Read) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {one.label: asdict(one) for one in read.published}
    entries.update({title: {"deprecated": title} for title in read.deprecated})
    return entries
