"""A clock of the database that can be set: a function before PostgreSQL's own on the search path."""

from __future__ import annotations

import asyncpg

_INSTALL = """
CREATE SCHEMA soak;
CREATE TABLE soak.clock (ahead interval NOT NULL);
INSERT INTO soak.clock VALUES ('0');
CREATE FUNCTION soak.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM soak.clock';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, soak, pg_catalog', current_database());
END $$;
"""


async def install(url: str) -> None:
    """Before the recorder opens its connections."""
    connection = await asyncpg.connect(url)
    await connection.execute(_INSTALL)
    await connection.close()


async def step(url: str, seconds: float) -> None:
    """From now on the clock is so much ahead of the real one; negative: behind."""
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE soak.clock SET ahead = make_interval(secs => $1)", seconds)
    await connection.close()
