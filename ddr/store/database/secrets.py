"""Server-wide secrets in the database: created at the first start, the same for every worker, sealed at rest."""

from __future__ import annotations

import secrets

import asyncpg

from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.pool import Connection
from ddr.store.database.sealing import KeyRing, opened, seal, unseal
from ddr.store.database.stamps import CLOCK

NAMES = ("resource-ids", "page-links", "pairing-ids", "refresh-tokens", "known-browsers", "login-journeys")
LENGTH = 32
_MAKE = f"INSERT INTO secret (name, sealed, created_ms) VALUES ($1, $2, {CLOCK}) ON CONFLICT DO NOTHING"  # noqa: S608
_KEEP = "UPDATE secret SET sealed = $2, value = NULL WHERE name = $1"


async def load_secrets(pool: asyncpg.Pool, keys: KeyRing) -> dict[str, bytes]:
    """All secrets by name, 32 bytes each. Missing ones are created; of several workers that try, the first one wins.

    Secrets that a former version left unsealed are sealed. Raises SettingsError, and seals nothing, when no key of
    `keys` opens a secret.
    """
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(LOCK, Lock.SIGNING_KEYS)  # until the end nobody seals everything under another key
        await _open_all(conn, keys)
        await conn.executemany(
            _MAKE, [(name, seal(keys, secrets.token_bytes(LENGTH), _label(name))) for name in sorted(NAMES)]
        )
    await _seal_open_ones(pool, keys)
    return await _open_all(pool, keys)


async def sealed_ones_exist(conn: asyncpg.Connection | asyncpg.Pool) -> bool:
    """True when secrets have been sealed under a key-encryption key."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM secret WHERE sealed IS NOT NULL)")
    return found


async def reseal(conn: asyncpg.Connection, keys: KeyRing) -> int:
    """Within a transaction: seal all secrets under the current key. Returns how many. Raises SettingsError."""
    rows = await conn.fetch("SELECT name, value, sealed FROM secret ORDER BY name FOR UPDATE")
    for row in rows:
        label = _label(row["name"])
        plain = row["value"] or unseal(keys, row["sealed"], label)
        await conn.execute(_KEEP, row["name"], seal(keys, plain, label))
    return len(rows)


async def forget_lost(conn: asyncpg.Connection, keys: KeyRing) -> int:
    """Within a transaction: delete the secrets that no key opens. Returns how many. A start makes new ones."""
    gone = await lost_ones(conn, keys)
    await conn.execute("DELETE FROM secret WHERE name = ANY ($1::text[])", gone)
    return len(gone)


async def lost_ones(conn: asyncpg.Connection, keys: KeyRing) -> list[str]:
    """Within a transaction: the names of the secrets that none of the keys opens; locked against changes by others."""
    rows = await conn.fetch("SELECT name, sealed FROM secret WHERE sealed IS NOT NULL FOR UPDATE")
    return [row["name"] for row in rows if opened(keys, row["sealed"], _label(row["name"])) is None]


async def _open_all(conn: Connection, keys: KeyRing) -> dict[str, bytes]:
    rows = await conn.fetch("SELECT name, sealed FROM secret WHERE sealed IS NOT NULL")
    return {row["name"]: unseal(keys, row["sealed"], _label(row["name"])) for row in rows}


async def _seal_open_ones(pool: asyncpg.Pool, keys: KeyRing) -> None:
    """Two workers that do this at once write the same secret under the same key; the second finds nothing to do."""
    rows = await pool.fetch("SELECT name, value FROM secret WHERE value IS NOT NULL ORDER BY name")
    for row in rows:
        sealed = seal(keys, row["value"], _label(row["name"]))
        await pool.execute(f"{_KEEP} AND value IS NOT NULL", row["name"], sealed)
    if rows:
        await pool.execute("VACUUM FULL secret")  # a few rows; otherwise the file would keep their former values


def _label(name: str) -> str:
    """The name under which a secret is sealed, so that no row of another table can replace it."""
    return f"secret:{name}"
