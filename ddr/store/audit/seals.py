"""The seals of the audit trail, and up to which number no further entries can appear."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import asyncpg

from ddr.store.audit.entries import LAST
from ddr.store.database.pool import Connection, Row

_NEW = ("seal_no", "upto_no", "entries", "last_ms", "sealed_ms", "digest", "chain", "form")
_SEAL = f"{', '.join(_NEW)}, purged_ms"

# A time later than the seal's own, or before 1970, is wrong; then the seal's own time counts.
_SEEN = "CASE WHEN last_ms BETWEEN 0 AND sealed_ms THEN last_ms ELSE sealed_ms END"
_DAY = f"({_SEEN}) / 86400000"

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.05

_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE relation = 'audit'::regclass AND mode = 'RowExclusiveLock'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def settled_number(pool: asyncpg.Pool) -> int:
    """A number up to which no entry can appear any more; 0 when some writer takes too long.

    Numbers are assigned before entries are committed. Whoever may have been assigned a number by now holds the table's
    lock for writers; once all of these have ended, the entries are complete. Nobody has to wait for this.
    """
    number: int = await pool.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_audit_no_seq")
    earlier = await _writers(pool)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while earlier & await _writers(pool):  # noqa: ASYNC110 - another process ends it
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        return 0
    return number


async def last_seal(conn: Connection) -> Row | None:
    """The newest seal, or None before the first one."""
    row: Row | None = await conn.fetchrow(f"SELECT {_SEAL} FROM audit_seal ORDER BY seal_no DESC LIMIT 1")  # noqa: S608
    return row


async def seal_numbered(conn: Connection, seal_no: int) -> Row | None:
    """One seal, or None when there is none with this number."""
    row: Row | None = await conn.fetchrow(f"SELECT {_SEAL} FROM audit_seal WHERE seal_no = $1", seal_no)  # noqa: S608
    return row


async def seals_after(conn: Connection, seal_no: int, count: int) -> list[Row]:
    """The first `count` seals after number `seal_no`, in ascending order."""
    rows: list[Row] = await conn.fetch(
        f"SELECT {_SEAL} FROM audit_seal WHERE seal_no > $1 ORDER BY seal_no LIMIT $2",  # noqa: S608
        seal_no,
        count,
    )
    return rows


async def add_seal(conn: Connection, seal: Row) -> bool:
    """Add a new seal. False when another process was faster."""
    status: str = await conn.execute(
        f"INSERT INTO audit_seal ({', '.join(_NEW)})"  # noqa: S608 - names of ours
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        *(seal[name] for name in _NEW),
    )
    return status == "INSERT 0 1"


async def _writers(conn: Connection) -> set[str]:
    return {row["virtualtransaction"] for row in await conn.fetch(_WRITERS)}


class Run(NamedTuple):
    """Consecutive seals of one day."""

    day: int
    after_no: int
    upto_no: int
    last_ms: int


async def day_after(conn: Connection, after_no: int, until_ms: int) -> Run | None:
    """The seals that follow number `after_no`, up to the first one of a later day, by the time of their newest entries.

    Seals with a time after `until_ms` were made by a clock that was ahead: they belong to the day of the next seal that
    was not, and to no day until there is one. Numbers are compared as values, because joins would read all seals.
    """
    row = await conn.fetchrow(
        f"""
        WITH first AS (
          SELECT seal_no FROM audit_seal WHERE upto_no > $1 AND purged_ms IS NULL ORDER BY upto_no LIMIT 1
        ), told AS (
          SELECT s.seal_no, {_DAY} AS day FROM audit_seal s
           WHERE s.seal_no >= (SELECT seal_no FROM first) AND {_SEEN} <= $2 ORDER BY s.seal_no LIMIT 1
        ), later AS (
          SELECT s.seal_no FROM audit_seal s
           WHERE s.seal_no > (SELECT seal_no FROM told) AND {_SEEN} <= $2 AND {_DAY} > (SELECT day FROM told)
           ORDER BY s.seal_no LIMIT 1
        )
        SELECT told.day, coalesce((SELECT upto_no FROM audit_seal WHERE seal_no < first.seal_no
                                    ORDER BY seal_no DESC LIMIT 1), 0) AS after_no,
               max(s.upto_no) AS upto_no, max({_SEEN}) AS last_ms
          FROM first, told JOIN audit_seal s
            ON s.seal_no >= told.seal_no AND s.seal_no < coalesce((SELECT seal_no FROM later), {LAST})
           AND {_SEEN} <= $2
         GROUP BY told.day, first.seal_no
        """,  # noqa: S608 - texts of ours
        after_no,
        until_ms,
    )
    return Run(*row) if row else None


async def count_between(conn: Connection, after_no: int, upto_no: int) -> int:
    """How many entries the seals with these numbers cover."""
    count: int = await conn.fetchval(
        "SELECT coalesce(sum(entries), 0) FROM audit_seal WHERE upto_no > $1 AND upto_no <= $2", after_no, upto_no
    )
    return count
