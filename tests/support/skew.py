"""Rows fetched by one connection in a transaction that is rolled back, with generic plans.

The planner does not know whose rows are requested, and takes each patient for an average one. So a patient with much
data is seeded beside many with little, and the rows that PostgreSQL fetched within this transaction are counted,
whatever others do meanwhile.
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
