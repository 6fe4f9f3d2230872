"""The daily tables for new entries of the audit trail: made in advance, and dropped when all in them is packed."""

from __future__ import annotations

from contextlib import suppress

import asyncpg

AHEAD = 3  # days


async def open_days(pool: asyncpg.Pool) -> None:
    """Make sure that there is a table for today and for the next days.

    While somebody holds the tables, nothing is done: entries of a day without a table have a place, too.
    """
    with suppress(asyncpg.LockNotAvailableError):
        for days in range(AHEAD + 1):
            await pool.execute("SELECT audit_open((now() AT TIME ZONE 'UTC')::date + $1::integer)", days)


async def clear(pool: asyncpg.Pool) -> list[str]:
    """Drop the tables of days that are over and packed. Returns their names. Those that somebody holds stay for now."""
    cleared: list[str] = []
    with suppress(asyncpg.LockNotAvailableError):
        while name := await pool.fetchval("SELECT audit_clear()"):
            cleared.append(name)
    return cleared
