"""The floor of uploads: the single statement that an upload amounts to, an UPDATE of one row, from the same process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg

_APPEND = """
UPDATE chunk SET vals = vals || $4, times = $5, last_ms = last_ms + 1, version = version + 1, filled = filled + $6,
                 updated_ms = updated_ms + 1
 WHERE patient_id = $1 AND epoch_no = $2 AND k = $3"""


async def bare_updates(pool: asyncpg.Pool, patients: Sequence[UUID], size: int, rounds: int, at_once: int) -> float:
    """Updates per second, each appending `size` readings to the running chunk of one of `patients`."""
    rows = await pool.fetch(
        "SELECT patient_id, epoch_no, k, times FROM chunk WHERE patient_id = ANY($1::uuid[]) AND status = 'p'", patients
    )

    async def append(row: asyncpg.Record, _: int) -> None:
        await pool.execute(
            _APPEND, row["patient_id"], row["epoch_no"], row["k"], b"\x01\x00" * size, row["times"], size
        )

    return len(rows) * rounds / await timed(append, rows, rounds, at_once)


async def timed(work: Callable[[Any, int], Awaitable[Any]], workers: Iterable[Any], rounds: int, at_once: int) -> float:
    """Seconds in which each of `workers` has done its rounds, `at_once` of them at a time."""
    gate = asyncio.Semaphore(at_once)

    async def all_rounds(worker: Any) -> None:
        async with gate:
            for at in range(rounds):
                await work(worker, at)

    began = time.perf_counter()
    await asyncio.gather(*(all_rounds(worker) for worker in workers))
    return time.perf_counter() - began
