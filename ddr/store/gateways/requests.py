"""Requests of gateways and bridges with an Idempotency-Key, and their answers.

Whoever works on a request holds a lease, by the clock of the database, and renews it. When a lease ends, its worker is
considered gone. A `claim` distinguishes its holder from one who took over.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS
from ddr.store.database.pool import Row
from ddr.store.database.stamps import CLOCK
from ddr.store.database.sweeping import delete_due

KEEP_MS = DAY_MS  # how long an answer is kept
LEASE_MS = 5_000

_TABLES = {UUID: ("gateway_request", "patient_id"), bytes: ("bridge_request", "bridge_sha256")}


@dataclass(frozen=True)
class Key:
    """Whose key it is: that of a patient, or of the bridge with a certificate with this SHA-256."""

    owner: UUID | bytes
    key: str

    def sql(self, statement: str) -> str:
        """`statement` for the owner's table; $1 is the owner, $2 the key."""
        table, column = _TABLES[bytes if isinstance(self.owner, bytes) else UUID]
        return statement.format(table=table, owner=column, mine=f"{column} = $1 AND request_key = $2", now=CLOCK)


async def claim(pool: asyncpg.Pool, key: Key, digest: bytes, mark: bytes, now_ms: int) -> Row | None:
    """Note that `mark` works on the request. If another one did, returns its row (request_sha256, status, answer,
    content_type).

    Answers older than KEEP_MS no longer count, and work whose lease has ended is taken over. So is work with a lease
    longer than any that is given, which comes from a clock that was set back.
    """
    # The clock is a parameter: where patients are spread, a conflict is judged on the server with the row, which has
    # another clock.
    claimed = await pool.fetchval(
        key.sql(
            """INSERT INTO {table} AS r ({owner}, request_key, request_sha256, created_ms, claim, lease_ms)
               VALUES ($1, $2, $3, $4, $5, {now} + $6) ON CONFLICT ({owner}, request_key) DO UPDATE
                  SET request_sha256 = excluded.request_sha256, status = NULL, answer = NULL, content_type = NULL,
                      created_ms = excluded.created_ms, claim = excluded.claim, lease_ms = excluded.lease_ms
                WHERE r.created_ms < $7
                   OR r.status IS NULL
                      AND coalesce(r.lease_ms, 0) NOT BETWEEN excluded.lease_ms - $6 AND excluded.lease_ms + $6
               RETURNING true"""
        ),
        key.owner, key.key, digest, now_ms, mark, LEASE_MS, now_ms - KEEP_MS,
    )  # fmt: skip
    if claimed:
        return None
    row: Row | None = await pool.fetchrow(
        key.sql("SELECT request_sha256, status, answer, content_type FROM {table} WHERE {mine}"), key.owner, key.key
    )
    return row


async def renew(pool: asyncpg.Pool, key: Key, mark: bytes) -> None:
    """Extend the lease by another LEASE_MS."""
    await pool.execute(
        key.sql("UPDATE {table} SET lease_ms = {now} + $4 WHERE {mine} AND claim = $3"),
        key.owner, key.key, mark, LEASE_MS,
    )  # fmt: skip


async def keep(pool: asyncpg.Pool, key: Key, mark: bytes, status: int, content_type: str | None, answer: bytes) -> None:
    """Store the answer, unless another worker took over."""
    await pool.execute(
        key.sql("UPDATE {table} SET status = $4, content_type = $5, answer = $6 WHERE {mine} AND claim = $3"),
        key.owner, key.key, mark, status, content_type, answer,
    )  # fmt: skip


async def release(pool: asyncpg.Pool, key: Key, mark: bytes) -> None:
    """Delete a request that failed."""
    await pool.execute(
        key.sql("DELETE FROM {table} WHERE {mine} AND claim = $3 AND status IS NULL"), key.owner, key.key, mark
    )


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete the answers that are too old to be given again."""
    for table, _ in _TABLES.values():
        await delete_due(pool, table, "created_ms", now_ms - KEEP_MS)
