"""What each worker of each host says about itself every few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from ddr.durations import DAY_MS

KEPT_MS = DAY_MS


@dataclass(frozen=True)
class Report:
    """The last word of one worker."""

    host: str
    worker: int
    seen_ms: int
    gone: bool
    troubles: Sequence[Mapping[str, Any]]


async def write(
    pool: asyncpg.Pool,
    host: str,
    worker: int,
    now_ms: int,
    troubles: Sequence[Mapping[str, Any]],
    closed: bool = False,
) -> int | None:
    """Store the report of a worker; `closed`: the setting `maintenance` lets it serve no DiGA.

    Returns when any worker was last heard of before that; None: never. What one said before the clock was set back is
    later than that, and does not count.
    """
    last: int | None = await pool.fetchval(
        """WITH before AS (SELECT max(seen_ms) AS seen_ms FROM worker_report WHERE seen_ms <= $3),
                own AS (INSERT INTO worker_report AS w (host, worker, seen_ms, troubles, served_ms)
                        VALUES ($1, $2, $3, $4, CASE WHEN NOT $5::boolean THEN $3::bigint END)
                        ON CONFLICT (host, worker)
                        DO UPDATE SET seen_ms = excluded.seen_ms, troubles = excluded.troubles, gone = false,
                                      served_ms = coalesce(excluded.served_ms, w.served_ms))
           SELECT seen_ms FROM before""",
        host, worker, now_ms, list(troubles), closed,
    )  # fmt: skip
    return last


async def last_served_ms(pool: asyncpg.Pool) -> int | None:
    """When any worker was last there for DiGA; None: never. Former versions say only that they were heard of."""
    last: int | None = await pool.fetchval("SELECT coalesce(max(served_ms), max(seen_ms)) FROM worker_report")
    return last


async def leave(pool: asyncpg.Pool, host: str, worker: int, now_ms: int) -> None:
    """The worker ends because it was told to: nobody need wonder where it is."""
    await pool.execute(
        "UPDATE worker_report SET gone = true, seen_ms = $3, troubles = '[]' WHERE host = $1 AND worker = $2",
        host, worker, now_ms,
    )  # fmt: skip


async def read(pool: asyncpg.Pool) -> list[Report]:
    """The last words of all workers."""
    rows = await pool.fetch("SELECT host, worker, seen_ms, gone, troubles FROM worker_report ORDER BY host, worker")
    return [Report(**dict(row)) for row in rows]


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Forget workers that were not heard of for a day, but the last one."""
    await pool.execute(
        "DELETE FROM worker_report WHERE seen_ms < $1 AND seen_ms < (SELECT max(seen_ms) FROM worker_report)",
        now_ms - KEPT_MS,
    )
