"""A settable clock for the database: a function before PostgreSQL's own on the search path.

The recorder uses its database's clock (ddr.store.database.clock), so that is the one to move.
"""

from __future__ import annotations

import asyncpg

_INSTALL = """
CREATE SCHEMA moved;
CREATE TABLE moved.clock (ahead interval NOT NULL);
INSERT INTO moved.clock VALUES ('0');
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM moved.clock';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, moved, pg_catalog', current_database());
END $$;
"""


async def install(url: str) -> None:
    """Call this before the recorder opens its connections; if the database has the clock already, it is set to the real
    time."""
    connection = await asyncpg.connect(url)
    try:
        there = await connection.fetchval("SELECT to_regclass('moved.clock') IS NOT NULL")
        await connection.execute("UPDATE moved.clock SET ahead = '0'" if there else _INSTALL)
    finally:
        await connection.close()


async def step(url: str, seconds: float) -> None:
    """Set the clock this far ahead of the real one; negative: behind."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE moved.clock SET ahead = make_interval(secs => $1)", seconds)
    finally:
        await connection.close()
