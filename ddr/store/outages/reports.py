"""What each worker of each host reports about itself every few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS

KEPT_MS = DAY_MS
SILENT_MS = 15_000  # without a report, after which it is considered lost
NEXT_MS = 6_000  # within which the next report would have come
UNDER_WAY_MS = 5_000  # for how long a request may have been in progress when its worker was lost

MOST_LOSSES = 20  # known of one worker number


def _without(losses: str, run: str) -> str:
    """SQL: the array `losses` without those of the process `run`."""
    others = f"one ->> 'run' IS DISTINCT FROM {run}::text"
    return f"(SELECT coalesce(jsonb_agg(one), '[]') FROM jsonb_array_elements({losses}) one WHERE {others})"  # noqa: S608


# The process that had this row is lost if it did not report that it leaves. One that reports again, or leaves later,
# was not lost: it ended beside its successor.
_WRITE = f"""
WITH before AS (SELECT max(seen_ms) AS seen_ms FROM worker_report WHERE seen_ms <= $3), own AS (
  INSERT INTO worker_report AS w (host, worker, seen_ms, troubles, quiet, served_ms, run)
  VALUES ($1, $2, $3, $4, $7, CASE WHEN NOT $5::boolean THEN $3::bigint END, $6::uuid)
  ON CONFLICT (host, worker) DO UPDATE
     SET seen_ms = excluded.seen_ms, troubles = excluded.troubles, quiet = excluded.quiet, gone = false,
         served_ms = coalesce(excluded.served_ms, w.served_ms), run = excluded.run,
         losses = jsonb_path_query_array(
           CASE WHEN w.run <> excluded.run AND NOT w.gone
                THEN jsonb_build_array(jsonb_build_object('run', w.run, 'from_ms', w.seen_ms, 'until_ms',
                                                          least(excluded.seen_ms, w.seen_ms + {NEXT_MS})))
                ELSE '[]' END || {_without("w.losses", "excluded.run")}, '$[0 to {MOST_LOSSES - 1}]'))
SELECT seen_ms FROM before
"""  # noqa: S608 - words of ours


@dataclass(frozen=True)
class Report:
    """The last report of a worker."""

    host: str
    worker: int
    seen_ms: int
    gone: bool
    troubles: Sequence[Mapping[str, Any]]
    quiet: Mapping[str, int]


async def write(
    pool: asyncpg.Pool,
    host: str,
    worker: int,
    now_ms: int,
    troubles: Sequence[Mapping[str, Any]],
    closed: bool = False,
    run: UUID | None = None,
    quiet: Mapping[str, int] = MappingProxyType({}),
) -> int | None:
    """Store the report of a worker; `closed`: the setting `maintenance` keeps it from serving DiGA. `quiet`: for those
    of the `troubles` that stay away, by key, when each was last seen.

    `run` identifies a process: when another one reports in its place, and it has not said that it leaves, it was lost.

    Returns when any worker was last heard of before; None: never. A report from before the clock was set back has a
    later time, and does not count.
    """
    last: int | None = await pool.fetchval(_WRITE, host, worker, now_ms, list(troubles), closed, run, dict(quiet))
    return last


async def last_served_ms(pool: asyncpg.Pool) -> int | None:
    """When any worker was last available to DiGA; None: never. Former versions only report that they are alive."""
    last: int | None = await pool.fetchval("SELECT coalesce(max(served_ms), max(seen_ms)) FROM worker_report")
    return last


async def leave(pool: asyncpg.Pool, host: str, worker: int, now_ms: int, run: UUID | None = None) -> None:
    """Note that the worker ends because it was told to, so that nobody looks for it. If another process already reports
    in its place, it was not lost."""
    followed = "losses @> jsonb_build_array(jsonb_build_object('run', $4::uuid))"
    await pool.execute(
        f"""UPDATE worker_report
               SET gone = gone OR NOT {followed}, seen_ms = CASE WHEN {followed} THEN seen_ms ELSE $3 END,
                   troubles = CASE WHEN {followed} THEN troubles ELSE '[]' END,
                   losses = {_without("losses", "$4::uuid")}
             WHERE host = $1 AND worker = $2""",  # noqa: S608 - words of ours
        host, worker, now_ms, run,
    )  # fmt: skip


async def lost_around(pool: asyncpg.Pool, at_ms: int, now_ms: int) -> bool:
    """Whether a worker was lost (killed, or with its host) that may have had a request in progress at the instant
    `at_ms`, as far as is known at `now_ms`; both in ms since the epoch."""
    found: bool = await pool.fetchval(
        """SELECT EXISTS (SELECT FROM worker_report
                           WHERE EXISTS (SELECT FROM jsonb_to_recordset(losses) AS lost(from_ms bigint, until_ms bigint)
                                          WHERE $1 BETWEEN from_ms - $3 AND until_ms)
                              OR NOT gone AND seen_ms < $2::bigint - $4::bigint
                                 AND $1 BETWEEN seen_ms - $3 AND seen_ms + $5)""",
        at_ms, now_ms, UNDER_WAY_MS, SILENT_MS, NEXT_MS,
    )  # fmt: skip
    return found


async def read(pool: asyncpg.Pool) -> list[Report]:
    """The last report of each worker."""
    columns = ", ".join(one.name for one in fields(Report))
    rows = await pool.fetch(f"SELECT {columns} FROM worker_report ORDER BY host, worker")  # noqa: S608 - words of ours
    return [Report(**dict(row)) for row in rows]


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete workers that were not heard of for a day, except the last one."""
    await pool.execute(
        "DELETE FROM worker_report WHERE seen_ms < $1 AND seen_ms < (SELECT max(seen_ms) FROM worker_report)",
        now_ms - KEPT_MS,
    )
