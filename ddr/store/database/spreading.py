"""Whether patients are on several servers (docs/scaling.md): then a statement asks about one patient, or one directory.

For speed, a single PostgreSQL does in one statement what takes two there. This is found out when a pool is opened.
"""

from __future__ import annotations

import re
from typing import Any

import asyncpg

from ddr.remembering import of_short_texts
from ddr.store.database.placing import spread
from ddr.store.database.prepared import LONGEST_CACHED
from ddr.store.database.stamps import stamp

KNOWN = 1_000  # texts that are remembered

# To plan a join, Citus must see which patient it is about; and what it hides in the catalogue takes seconds to
# query. Settings of a transaction apply on each of its servers.
SESSION = (
    "SET plan_cache_mode = auto; SET citus.override_table_visibility = off; SET citus.propagate_set_commands = 'local'"
)
_ENGINE = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
_PLACED = """
SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass('patient') AND partmethod = 'h')"""


async def has_engine(conn: asyncpg.Connection | asyncpg.Pool) -> bool:
    """Whether this database has Citus installed."""
    return bool(await conn.fetchval(_ENGINE))


async def look(conn: asyncpg.Connection | asyncpg.Pool) -> bool:
    """Whether the installation is spread, as the database says."""
    return await has_engine(conn) and bool(await conn.fetchval(_PLACED))


def is_spread(conn: Any) -> bool:
    """The same, as found when the pool of this connection was opened; False for a connection of no pool of ours."""
    servers = getattr(conn, "servers", None)
    return servers is not None and bool(servers.spread)


def over_servers(conn: Any, table: str) -> bool:
    """Whether the rows of this table are on several servers."""
    return is_spread(conn) and table in spread()


# The next timestamp as a function of the row (ddr.store.database.stamps.stamp). It is declared immutable so that the
# server with the row computes it, after it got the lock; an expression with a column is computed nowhere else.
STAMP = "ddr_stamp(bigint, bigint)"
STAMP_FUNCTION = """
CREATE OR REPLACE FUNCTION ddr_stamp(stamp_ms bigint, steered_ms bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN
    RETURN greatest(stamp_ms + 1, coalesce(steered_ms, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint));
END $$"""
_STAMP = re.compile(re.escape(stamp("%")).replace("%", r"(\$\d+)"))


@of_short_texts(KNOWN, LONGEST_CACHED)
def there(text: str) -> str:
    """A statement as it may be run for a patient on another server: with the clock as of its beginning."""
    if "FUNCTION" in text:  # what runs beside the row has a clock there
        return text
    return _STAMP.sub(r"ddr_stamp(stamp_ms, \1)", text).replace("clock_timestamp()", "statement_timestamp()")
