"""Signing keys at rest: public part as JWK, private part sealed by a key that is not in the database."""

from __future__ import annotations

from typing import Any, NamedTuple

import asyncpg

from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.pool import Connection


class StoredKey(NamedTuple):
    """One row of signing_key."""

    kid: str
    public_jwk: dict[str, Any]
    sealed_private: bytes
    signs_from_ms: int


async def load(conn: Connection, now_ms: int) -> list[StoredKey]:
    """Every key that signs, will sign, or has signed tokens that may still be valid; oldest first."""
    rows = await conn.fetch(
        """
        SELECT kid, public_jwk, sealed_private, signs_from_ms FROM signing_key
        WHERE retires_ms IS NULL OR retires_ms > $1 ORDER BY signs_from_ms, kid
        """,
        now_ms,
    )
    return [StoredKey(**row) for row in rows]


async def exist(conn: Connection) -> bool:
    """True when there is a key that signs, or will."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM signing_key WHERE retires_ms IS NULL)")
    return found


async def add_first(pool: asyncpg.Pool, key: StoredKey) -> None:
    """Store `key` unless there is one already; of several workers that start together, one succeeds."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(LOCK, Lock.SIGNING_KEYS)
        if not await exist(conn):
            await _insert(conn, key)


async def replace(conn: asyncpg.Connection, key: StoredKey, others_retire_ms: int, now_ms: int) -> None:
    """Within a transaction: add `key`, let the others retire, and destroy those that have already retired."""
    await conn.execute(LOCK, Lock.SIGNING_KEYS)
    await conn.execute("DELETE FROM signing_key WHERE retires_ms <= $1", now_ms)
    await conn.execute("UPDATE signing_key SET retires_ms = $1 WHERE retires_ms IS NULL", others_retire_ms)
    await _insert(conn, key)


async def lock_all(conn: asyncpg.Connection) -> list[StoredKey]:
    """Within a transaction: every key, retired ones included, locked against changes by others."""
    await conn.execute(LOCK, Lock.SIGNING_KEYS)
    rows = await conn.fetch("SELECT kid, public_jwk, sealed_private, signs_from_ms FROM signing_key ORDER BY kid")
    return [StoredKey(**row) for row in rows]


async def reseal(conn: asyncpg.Connection, kid: str, sealed_private: bytes) -> None:
    """Within a transaction: store the same key sealed anew."""
    await conn.execute("UPDATE signing_key SET sealed_private = $2 WHERE kid = $1", kid, sealed_private)


async def replace_all(conn: asyncpg.Connection, key: StoredKey) -> None:
    """Within a transaction: destroy every key, and start anew with `key`."""
    await conn.execute(LOCK, Lock.SIGNING_KEYS)
    await conn.execute("DELETE FROM signing_key")
    await _insert(conn, key)


async def _insert(conn: asyncpg.Connection, key: StoredKey) -> None:
    await conn.execute(
        "INSERT INTO signing_key (kid, public_jwk, sealed_private, signs_from_ms) VALUES ($1, $2, $3, $4)", *key
    )
