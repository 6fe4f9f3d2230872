"""How many sessions wait for a lock: on a test's single server, or on all of Citus."""

from __future__ import annotations

import os

import asyncpg

from tests.support.citus import COORDINATOR

_HERE = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
_EVERYWHERE = f"SELECT sum(result::bigint)::bigint FROM run_command_on_all_nodes($${_HERE}$$)"


async def waiting(pool: asyncpg.Pool) -> int:
    """The sessions of this database that wait for a lock just now."""
    found: int = await pool.fetchval(_EVERYWHERE if COORDINATOR in os.environ else _HERE)
    return found
