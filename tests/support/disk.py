"""Whether something waits until what it has committed is on the disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg

TRIES = 100  # the server also writes its log for others, and by itself five times a second


async def waits_for_the_disk(pool: asyncpg.Pool, step: Callable[[], Awaitable[object]]) -> bool:
    """Whether `step`, which must write something, only ends once that is there, each time."""
    for _ in range(TRIES):
        before = await pool.fetchval("SELECT pg_current_wal_insert_lsn()")
        await step()
        if await pool.fetchval("SELECT pg_current_wal_flush_lsn() <= $1", before):
            return False
    return True
