"""Versions of MIV ValueSets: stored, put in force, and what that means for stored data and consents."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import asyncpg

from ddr.miv.versions import LOST, MivVersion
from ddr.store.database.pool import Connection
from ddr.store.registries.returning import give_back
from ddr.store.registries.sources import record_event

SOURCE = "zts"
FOLDER = "folder"  # the origin of the versions that come with the program
MOVING_SECONDS = 3600  # longest time to move the data of one code, which may concern a whole table


@dataclass(frozen=True)
class StoredVersion:
    """A version in the database."""

    name: str  # of the MIV package
    content: MivVersion
    origin: str
    imported_ms: int
    activated_ms: int | None


async def stored_versions(connection: Connection) -> list[StoredVersion]:
    """All versions except those of the folder, by name and time of import."""
    rows = await connection.fetch(
        "SELECT name, version, valuesets, meta, origin, imported_ms, activated_ms FROM miv_version"
        " ORDER BY name, imported_ms, version"
    )
    return [
        StoredVersion(name, MivVersion(version, tuple(valuesets), meta), *rest)
        for name, version, valuesets, meta, *rest in rows
    ]


async def in_force(connection: Connection) -> dict[str, MivVersion]:
    """For each MIV package, the version activated last; packages without one are as in their folder."""
    active = [one for one in await stored_versions(connection) if one.activated_ms is not None]
    return {one.name: one.content for one in sorted(active, key=lambda one: one.activated_ms or 0)}


async def mark(connection: Connection) -> int:
    """A number that changes when another version comes into force."""
    found: int = await connection.fetchval("SELECT coalesce(max(activated_ms), 0) FROM miv_version")
    return found


async def keep(connection: Connection, name: str, content: MivVersion, origin: str, sha256: str, now_ms: int) -> bool:
    """Store a version without putting it in force. True when it was not known; a known one is never replaced."""
    added = await connection.fetchval(
        "INSERT INTO miv_version (name, version, valuesets, meta, origin, sha256, imported_ms)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING true",
        name,
        content.version,
        list(content.valuesets),
        content.meta,
        origin,
        sha256,
        now_ms,
    )
    if added:
        detail = {"miv": name, "version": content.version, "origin": origin, "sha256": sha256}
        await record_event(connection, SOURCE, now_ms, "imported", detail)
    return bool(added)


async def complete(connection: Connection, name: str, version: str, meta: str) -> None:
    """Give a version the miv.toml that its new codes need."""
    await connection.execute("UPDATE miv_version SET meta = $3 WHERE name = $1 AND version = $2", name, version, meta)


async def looked_into(connection: Connection) -> dict[str, str | None]:
    """The packages (name#version) that were downloaded already, each with the published digest of its last archive;
    None: downloaded before digests were noted."""
    rows = await connection.fetch(
        "SELECT detail ->> 'package' AS package, detail ->> 'shasum' AS shasum FROM registry_event"
        " WHERE source = $1 AND kind = 'downloaded' ORDER BY event_no",
        SOURCE,
    )
    return {row["package"]: row["shasum"] for row in rows}


async def held_by_packages(connection: Connection) -> dict[str, dict[str, str]]:
    """For each downloaded package (name#version), the stored version of each MIV in it."""
    rows = await connection.fetch(
        "SELECT detail ->> 'package' AS package, detail -> 'mivs' AS mivs FROM registry_event"
        " WHERE source = $1 AND kind = 'downloaded' ORDER BY event_no",
        SOURCE,
    )
    found = {row["package"]: row["mivs"] for row in rows}
    if None in found.values():  # downloaded before that was noted
        for one in await stored_versions(connection):
            if one.origin in found and found[one.origin] is None:
                found[one.origin] = {}
            if found.get(one.origin) is not None:
                found[one.origin].setdefault(one.name, one.content.version)
    return {package: mivs for package, mivs in found.items() if mivs is not None}


async def activate(
    pool: asyncpg.Pool,
    name: str,
    version: str,
    valueset: str,
    lost: Collection[tuple[str, str]],
    present: Collection[tuple[str, str]],
    now_ms: int,
) -> int:
    """Put a version in force and adapt stored data. Returns how many series and measurements were changed.

    Data of lost codes move in the same transaction. Data of codes that come back move after it, also when this is
    repeated.

    `lost` are the codes (system, code) that the MIV no longer has, `present` those that it has.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(
            "UPDATE miv_version"
            " SET activated_ms = greatest($3, (SELECT coalesce(max(activated_ms), 0) + 1 FROM miv_version))"
            " WHERE name = $1 AND version = $2",
            name,
            version,
            now_ms,
        )
        touched = await _move(connection, valueset, valueset + LOST, lost)
        detail = {"miv": name, "version": version, "lost": [code for _, code in lost], "touched": touched}
        await record_event(connection, SOURCE, now_ms, "activated", detail)
    return touched + await give_back(pool, valueset + LOST, valueset, present)


async def consents(connection: Connection, valueset: str, now_ms: int) -> int:
    """How many consents in force cover this MIV."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM consent WHERE miv_url = $1 AND withdrawn_ms IS NULL AND until_ms > $2", valueset, now_ms
    )
    return found


async def _move(connection: asyncpg.Connection, old: str, new: str, codes: Collection[tuple[str, str]]) -> int:
    touched = 0
    for table in ("sensor", "measurement"):
        done: str = await connection.execute(
            f"UPDATE {table} SET miv_url = $2 WHERE miv_url = $1"  # noqa: S608 - two names of ours
            " AND (code_system, code) IN (SELECT * FROM unnest($3::text[], $4::text[]))",
            old,
            new,
            [system for system, _ in codes],
            [code for _, code in codes],
            timeout=MOVING_SECONDS,
        )
        touched += int(done.split()[-1])
    return touched
