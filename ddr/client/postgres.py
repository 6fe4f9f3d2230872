"""Grants in PostgreSQL, for a DiGA with several hosts (the contract: ddr/client/tokens.py). It includes no driver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from ddr.client.tokens import Grant, from_text, to_text

TABLE = "CREATE TABLE IF NOT EXISTS ddr_client_grants (pairing_id text PRIMARY KEY, content text NOT NULL)"
SAVE = """INSERT INTO ddr_client_grants VALUES ($1, $2)
ON CONFLICT (pairing_id) DO UPDATE SET content = excluded.content"""
LOCK_SPACE = 0x4444  # of advisory locks: other users of the database have their own


class Pool(Protocol):
    """What is used of asyncpg's pool."""

    def acquire(self) -> AbstractAsyncContextManager[Any]:
        """A connection."""


class PostgresTokens:
    """A PairingStore in a database of the DiGA. `pool` is asyncpg's, connected to the server itself or through a pooler
    in session mode: a lock belongs to its session and ends with it, so that a process that dies blocks nobody."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._own: ContextVar[Any] = ContextVar("own", default=None)

    async def prepare(self) -> None:
        """Make the table, once."""
        async with self._connection() as connection:
            await connection.execute(TABLE)

    async def load(self, pairing_id: str) -> Grant | None:
        async with self._connection() as connection:
            query = "SELECT content FROM ddr_client_grants WHERE pairing_id = $1"
            text = await connection.fetchval(query, pairing_id)
        return from_text(text) if text else None

    async def save(self, grant: Grant) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = on")
            await connection.execute(SAVE, grant.pairing_id, to_text(grant))

    async def forget(self, pairing_id: str) -> None:
        async with self._connection() as connection:
            await connection.execute("DELETE FROM ddr_client_grants WHERE pairing_id = $1", pairing_id)

    async def pairings(self) -> list[str]:
        async with self._connection() as connection:
            rows = await connection.fetch("SELECT pairing_id FROM ddr_client_grants ORDER BY pairing_id")
        return [row[0] for row in rows]

    @asynccontextmanager
    async def alone(self, pairing_id: str) -> AsyncIterator[None]:
        """See TokenStore. The connection that holds the lock also serves the block, so that it never waits for a second
        one."""
        async with self._pool.acquire() as connection:
            await connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", LOCK_SPACE, pairing_id)
            token = self._own.set(connection)
            try:
                yield
            finally:
                self._own.reset(token)
                await connection.execute("SELECT pg_advisory_unlock($1, hashtext($2))", LOCK_SPACE, pairing_id)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        own = self._own.get()
        if own is not None:
            yield own
            return
        async with self._pool.acquire() as connection:
            yield connection
