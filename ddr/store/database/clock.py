"""One clock for all hosts: the database's, read regularly and continued by this machine's monotonic clock.

Hosts whose own clocks differ agree on it, and setting the clock of a host has no effect on it. Timestamps set inside
statements (`clock_timestamp()`) and the times with which workers compare them come from the same clock.
"""

from __future__ import annotations

import time

import asyncpg

from ddr.durations import DAY_MS, MINUTE_MS
from ddr.store.database.stamps import CLOCK

LOOK_SECONDS = 10.0  # how often the database is asked
LOOKS = 3  # per reading; the quickest answer is the most exact one
TOLERATED_MS = 50  # by which ours may be off before it is set, so that noise does not move it
SKEW_MS = MINUTE_MS  # the most by which two workers may differ; a later time comes from a clock that was set back
TOLD_MS = DAY_MS  # for how long it is reported that the clock was set

_MOVED = f"""
    SELECT coalesce((SELECT moved_ms FROM clock_seen WHERE moved_at_ms > {CLOCK} - $1::bigint), 0) AS moved_ms,
           (SELECT coalesce(sum(until_ms - from_ms), 0)::bigint FROM clock_gap) AS gap_ms
"""  # noqa: S608


class DatabaseClock:
    """Call it for the present in milliseconds since 1970; it is this machine's own clock until the first reading."""

    def __init__(self) -> None:
        self._ahead_ms = time.time_ns() // 1_000_000 - steady_ms()  # of the monotonic clock

    def __call__(self) -> int:
        """The present instant in milliseconds since 1970-01-01T00:00:00Z."""
        return steady_ms() + self._ahead_ms

    def host_ahead_ms(self) -> int:
        """By how many milliseconds this host's own clock is ahead of this one; negative: behind."""
        return time.time_ns() // 1_000_000 - self()

    async def read(self, pool: asyncpg.Pool) -> None:
        """Ask the database for the time, and follow it."""
        looks = [await _look(pool) for _ in range(LOOKS)]
        _, ahead_ms = min(looks)
        if abs(ahead_ms - self._ahead_ms) > TOLERATED_MS:
            self._ahead_ms = ahead_ms


async def present_ms(connection: asyncpg.Pool | asyncpg.Connection) -> int:
    """The present in milliseconds since 1970, by the clock of the database's server."""
    now_ms: int = await connection.fetchval(f"SELECT {CLOCK}")
    return now_ms


async def look(pool: asyncpg.Pool) -> int:
    """By how many milliseconds the database's clock was set since the last look; 0: it was not.

    Detects a step ahead of at least a day, or back of at least a second: a smaller step ahead looks like a pause.
    Migration 0104.
    """
    moved_ms: int = await pool.fetchval("SELECT clock_look()")
    return moved_ms


async def moved(pool: asyncpg.Pool) -> tuple[int, int]:
    """By how many milliseconds the clock was set within the last day (the last step, as `look` says; 0: none), and how
    many milliseconds of a leap do not count towards retention."""
    row = await pool.fetchrow(_MOVED, TOLD_MS)
    return row["moved_ms"], row["gap_ms"]


async def counted(pool: asyncpg.Pool, before_ms: int) -> int:
    """The instant before which data counts as older than `before_ms`, as leaps of the clock do not count."""
    counted_ms: int = await pool.fetchval("SELECT clock_counted($1)", before_ms)
    return counted_ms


async def _look(pool: asyncpg.Pool) -> tuple[int, int]:
    """How many milliseconds the answer took, and how far the database was ahead of the monotonic clock halfway."""
    async with pool.acquire() as connection:  # waiting for a connection is not part of the answer's time
        asked_ms = steady_ms()
        now_ms = await present_ms(connection)
        took_ms = steady_ms() - asked_ms
    return took_ms, now_ms - asked_ms - took_ms // 2


def steady_ms() -> int:
    """Milliseconds of a clock that cannot be set; it runs while the machine sleeps, where the system supports that."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000
