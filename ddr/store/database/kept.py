"""Makes sure that what was read survives: a standby that is promoted must have it before anybody is told of it.

A commit that waits for a synchronous standby becomes visible to others when that wait is given up, as at the end of a
statement that took too long. Its own client is told nothing. A request that only reads it waits here for a commit of
its own, which comes later in the database's log. Without such a standby, what is visible is on the disk.
"""

from __future__ import annotations

import asyncpg

MARK = "pg_logical_emit_message(true, 'ddr', '')"
"""SQL: leaves nothing in any table, and makes the transaction one that waits as those do that write."""

_KEPT = f"SELECT CASE WHEN current_setting('synchronous_standby_names') <> '' THEN {MARK} END"


async def kept(pool: asyncpg.Pool) -> None:
    """Returns when the standby that commits wait for, if there is one, has all that was read here. Raises FAULTS.

    Where patients are spread over several servers, this holds for the first one only.
    """
    await pool.execute(_KEPT)
