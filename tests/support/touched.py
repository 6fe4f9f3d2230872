"""Measures PostgreSQL's work for its clients in units that do not depend on the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from ddr.store.database.straight import Ways

_BLOCKS = """
SELECT relid, autovacuum_count + autoanalyze_count AS cleaned,
       coalesce(heap_blks_hit, 0) + coalesce(heap_blks_read, 0) + coalesce(idx_blks_hit, 0)
       + coalesce(idx_blks_read, 0) + coalesce(toast_blks_hit, 0) + coalesce(toast_blks_read, 0) AS blocks
  FROM pg_statio_user_tables JOIN pg_stat_user_tables USING (relid, relname)"""
_ROWS = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint AS fetched,
       sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint AS written,
       sum(n_tup_upd)::bigint AS updated, sum(n_tup_hot_upd)::bigint AS hot
  FROM pg_stat_user_tables"""


@dataclass
class Touched:
    """Blocks of tables and indexes read, rows fetched and written; and how many updates needed no new index entry."""

    blocks: int = 0
    fetched: int = 0
    written: int = 0
    updated: int = 0
    hot: int = 0


@asynccontextmanager
async def touched(pool: asyncpg.Pool, table: str = "") -> AsyncIterator[Touched]:
    """What connections of `pool` touch meanwhile, in all tables or in one. The database must be the test's own."""
    found = Touched()
    blocks, rows = await _counted(pool, table)
    yield found
    more_blocks, more_rows = await _counted(pool, table)
    for name, value in more_rows.items():
        setattr(found, name, value - rows[name])
    for relid, (cleaned, count) in more_blocks.items():
        cleaned_before, before = blocks.get(relid, (0, 0))
        if cleaned == cleaned_before:  # otherwise autovacuum read blocks of it, too, and nobody tells whose are whose
            found.blocks += count - before


async def _counted(pool: asyncpg.Pool, table: str) -> tuple[dict[int, tuple[int, int]], dict[str, int]]:
    for each in (pool, *(pool.beside.pools.values() if isinstance(pool.beside, Ways) else ())):
        connections = [await each.acquire() for _ in range(each.get_size())]
        for connection in connections:  # each reports its figures when its transaction ends
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await each.release(connection)
    where = " WHERE relname = $1 OR $1 = ''"
    blocks = {row["relid"]: (row["cleaned"], row["blocks"]) for row in await pool.fetch(_BLOCKS + where, table)}
    return blocks, dict(await pool.fetchrow(_ROWS + where, table))
