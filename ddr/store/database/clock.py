"""One clock for all hosts: the database's, read now and then and carried on by this machine's steady clock.

Hosts whose own clocks differ agree on it, and one whose clock is set does not notice. What is stamped inside statements
(`clock_timestamp()`) and what workers compare with it come from the same clock.
"""

from __future__ import annotations

import time

import asyncpg

from ddr.durations import DAY_MS, MINUTE_MS
from ddr.store.database.stamps import CLOCK

LOOK_SECONDS = 10.0  # how often the database is asked
LOOKS = 3  # at a time: the quickest answer is the most exact one
TOLERATED_MS = 50  # by which ours may differ before it is set: never back and forth by the noise of answers
SKEW_MS = MINUTE_MS  # by which those of two workers differ at most: what is dated later is of one that was set back
TOLD_MS = DAY_MS  # for how long it is told that the clock was set

_MOVED = f"""
    SELECT coalesce((SELECT moved_ms FROM clock_seen WHERE moved_at_ms > {CLOCK} - $1::bigint), 0) AS moved_ms,
           (SELECT coalesce(sum(until_ms - from_ms), 0)::bigint FROM clock_gap) AS gap_ms
"""  # noqa: S608


class DatabaseClock:
    """Call it for the present instant in milliseconds since 1970; this machine's own clock until the first reading."""

    def __init__(self) -> None:
        self._ahead_ms = time.time_ns() // 1_000_000 - steady_ms()  # of the steady clock

    def __call__(self) -> int:
        """The present instant in milliseconds since 1970-01-01T00:00:00Z."""
        return steady_ms() + self._ahead_ms

    def host_ahead_ms(self) -> int:
        """By how many milliseconds this host's own clock is ahead of this one; negative: behind."""
        return time.time_ns() // 1_000_000 - self()

    async def read(self, pool: asyncpg.Pool) -> None:
        """Ask the database what time it is, and follow it."""
        looks = [await _look(pool) for _ in range(LOOKS)]
        _, ahead_ms = min(looks)
        if abs(ahead_ms - self._ahead_ms) > TOLERATED_MS:
            self._ahead_ms = ahead_ms


async def present_ms(connection: asyncpg.Pool | asyncpg.Connection) -> int:
    """The present instant in milliseconds since 1970, as the database's server has it."""
    now_ms: int = await connection.fetchval(f"SELECT {CLOCK}")
    return now_ms


async def look(pool: asyncpg.Pool) -> int:
    """By how many milliseconds the database's clock was set since somebody looked the last time; 0: it goes right.

    Ahead by a day at least, or back by a second: less than a day nobody can tell from a pause. Migration 0104.
    """
    moved_ms: int = await pool.fetchval("SELECT clock_look()")
    return moved_ms


async def moved(pool: asyncpg.Pool) -> tuple[int, int]:
    """By how many milliseconds it was set within the last day (the last time, as `look` says; 0: it was not), and how
    many count for no retention because it leapt."""
    row = await pool.fetchrow(_MOVED, TOLD_MS)
    return row["moved_ms"], row["gap_ms"]


async def counted(pool: asyncpg.Pool, before_ms: int) -> int:
    """What is older than `before_ms` once time by which the clock leapt does not count, is older than this instant."""
    counted_ms: int = await pool.fetchval("SELECT clock_counted($1)", before_ms)
    return counted_ms


async def _look(pool: asyncpg.Pool) -> tuple[int, int]:
    """Milliseconds that the answer took, and by how much the database was ahead of the steady clock in its middle."""
    async with pool.acquire() as connection:  # waiting for one is no part of the answer's time
        asked_ms = steady_ms()
        now_ms = await present_ms(connection)
        took_ms = steady_ms() - asked_ms
    return took_ms, now_ms - asked_ms - took_ms // 2


def steady_ms() -> int:
    """Milliseconds of a clock that nobody sets; it goes on while the machine sleeps, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000
