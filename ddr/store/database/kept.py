"""Which commits wait for the disk, and for a synchronous standby; and a wait for what was only read.

A commit that waits for a synchronous standby becomes visible to others when that wait is given up, as at the end of a
statement that took too long. Its own client is told nothing. A request that only reads it waits here for a commit of
its own, which comes later in the database's log: a standby that is promoted must have it before anybody is told of it.
Without such a standby, what is visible is on the disk, unless it was committed WITHOUT_WAIT.
"""

from __future__ import annotations

import asyncpg

WITHOUT_WAIT = "set_config('synchronous_commit', 'off', true)"
"""SQL: lets the commit of this transaction wait for neither. For what is durable with a later commit, for which the
answer waits, as the database writes its log in order; and for what may be lost in a crash."""

MARK = "pg_logical_emit_message(true, 'ddr', '')"
"""SQL: leaves nothing in any table, and makes the transaction one that waits as those do that write."""

_KEPT = f"SELECT CASE WHEN current_setting('synchronous_standby_names') <> '' THEN {MARK} END"


async def wait_for_standby(pool: asyncpg.Pool) -> None:
    """Returns when the standby that commits wait for, if there is one, has all that was read here. Raises FAULTS.

    Where patients are spread over several servers, this holds for the first one only.
    """
    await pool.execute(_KEPT)
