"""Whose turn a job is: a row that expires, by the database's clock.

It is not a session lock, because a pooler gives the session to somebody else and keeps the lock of a process that is
gone.
"""

from __future__ import annotations

import asyncpg

from ddr.store.database.stamps import CLOCK

LEASE_MS = 60_000


async def take(pool: asyncpg.Pool, job: str, mark: bytes) -> bool:
    """Take the turn for LEASE_MS, or extend it; False while somebody with another mark has it.

    A lease longer than any that is given comes from a clock that was set back, and is ignored: nobody waits for the
    clock to catch up.
    """
    taken = await pool.fetchval(
        f"""INSERT INTO job_lease AS j (job, mark, until_ms)
           VALUES ($1, $2, {CLOCK} + $3)
           ON CONFLICT (job) DO UPDATE SET mark = excluded.mark, until_ms = excluded.until_ms
            WHERE j.mark = excluded.mark
               OR j.until_ms NOT BETWEEN excluded.until_ms - $3 AND excluded.until_ms + $3
           RETURNING true""",  # noqa: S608 - the clock as SQL
        job, mark, LEASE_MS,
    )  # fmt: skip
    return bool(taken)


async def give_back(pool: asyncpg.Pool, job: str, mark: bytes) -> None:
    """End the turn, unless somebody else has it by now."""
    await pool.execute("DELETE FROM job_lease WHERE job = $1 AND mark = $2", job, mark)
