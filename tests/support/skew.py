"""Rows that one connection fetches in a transaction that does not last, by plans that are made for nobody.

The planner is not told whose rows are asked for, and takes each patient for the average one. So whoever has much is
seeded beside many who have little, and rows are counted that PostgreSQL fetched within this transaction, whatever
others do meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

_FETCHED = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_xact_user_tables
     WHERE $1::text IN (relname::text, '')"""


@asynccontextmanager
async def in_passing(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection in a transaction that is rolled back, with generic plans."""
    async with pool.acquire() as conn:
        await (transaction := conn.transaction()).start()
        try:
            await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            yield conn
        finally:
            await transaction.rollback()


async def fetched(conn: asyncpg.Connection, table: str = "") -> int:
    """How many rows of the table, or of all tables, this transaction has fetched so far."""
    count: int = await conn.fetchval(_FETCHED, table)
    return count
