"""What a poll writes: bytes of write-ahead log and whole pages, right after a checkpoint and later; transaction ids."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from tests.bench.figure import NONE, Figure, Goal
from tests.bench.polling import CLIENTS
from tests.bench.population import Population, population
from tests.support.recorder import Recorder

# Of the whole server, on which nobody else works.
_WRITTEN = """
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS wal,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ids,
       (SELECT wal_fpi FROM pg_stat_wal)::bigint AS pages"""
COLD, WARM, IDS = Goal(most=6_000), Goal(most=800), Goal(most=2)


async def run(running: Recorder, folder: Path, patients: int) -> list[Figure]:
    """Each patient polls once after a checkpoint (cold), then twice again (warm), then with others at once."""
    async with population(running, folder, patients) as one:
        await _polled(one, 1)  # connections, plans, and the row that notes the first access
        await _polled(one, 1, CLIENTS)  # as many connections
        await one.pool.execute("CHECKPOINT")
        cold, warm, shared = await _polled(one, 1), await _polled(one, 2), await _polled(one, 2, CLIENTS)
    return [
        _figure("wal_per_poll_cold", "write-ahead log of a poll, pages cold", cold["wal"], "bytes", COLD),
        _figure("pages_per_poll_cold", "whole pages in it", cold["pages"], "pages", NONE),
        _figure("wal_per_poll_warm", "write-ahead log of a poll, pages warm", warm["wal"], "bytes", WARM),
        _figure("wal_per_poll_shared", f"the same, {CLIENTS} polls at once", shared["wal"], "bytes", WARM),
        _figure("ids_per_poll", "transaction ids of a poll", warm["ids"], "ids", IDS),
        _figure("ids_per_poll_shared", f"the same, {CLIENTS} polls at once", shared["ids"], "ids", IDS),
    ]


def _figure(name: str, text: str, value: float, unit: str, goal: Goal) -> Figure:
    return Figure(name, text, value, unit, target=goal)


async def _polled(one: Population, times: int, at_once: int = 1) -> dict[str, float]:
    """What one poll writes on average, when so many come at once."""
    before = await _written(one.pool)
    for _ in range(times):
        for first in range(0, len(one.asked), at_once):
            await asyncio.gather(*(patient.poll() for patient in one.asked[first : first + at_once]))
    after = await _written(one.pool)
    return {name: (after[name] - before[name]) / times / len(one.asked) for name in ("wal", "pages", "ids")}


async def _written(pool: asyncpg.Pool) -> asyncpg.Record:
    connections = [await pool.acquire() for _ in range(pool.get_size())]
    for connection in connections:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await pool.release(connection)
    return await pool.fetchrow(_WRITTEN)
