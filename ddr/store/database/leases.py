"""Whose turn a job is: a row with an end, by the database's clock.

Not a lock of a session: a pooler gives a session to somebody else, and keeps the lock of a process that is gone.
"""

from __future__ import annotations

import asyncpg

from ddr.store.database.stamps import CLOCK

LEASE_MS = 60_000


async def take(pool: asyncpg.Pool, job: str, mark: bytes) -> bool:
    """Take the turn for LEASE_MS, or hold it for longer; False while somebody with another mark has it.

    One that lasts longer than is ever given is of a clock that was set back: nobody waits until that has caught up.
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
    """End the turn, unless it is somebody else's by now."""
    await pool.execute("DELETE FROM job_lease WHERE job = $1 AND mark = $2", job, mark)
