"""The audit trail as a whole: its entries by number, its seals, and which entries can no longer get company."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg

from ddr.store.database.pool import Connection

Row = Mapping[str, Any]

_SEAL = "seal_no, upto_no, entries, last_ms, sealed_ms, digest, chain, purged_ms"

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.05

_ENTRIES = "SELECT audit_no, patient_id, at_ms, event, client_id, pairing_id, detail FROM audit"
_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE relation = 'audit'::regclass AND mode = 'RowExclusiveLock'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def settled_number(pool: asyncpg.Pool) -> int:
    """A number up to which no entry can appear any more; 0 when some writer takes too long.

    Numbers are given out before entries are committed. Whoever may hold a number given out by now holds the table's
    lock for writers; once all these have ended the entries are complete. Nobody is made to wait for that.
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


async def entries_between(conn: Connection, after_no: int, upto_no: int, count: int | None = None) -> list[Row]:
    """Entries with numbers above `after_no` up to `upto_no`, ascending; the first `count` of them."""
    rows: list[Row] = await conn.fetch(
        f"{_ENTRIES} WHERE audit_no > $1 AND audit_no <= $2 ORDER BY audit_no LIMIT $3", after_no, upto_no, count
    )
    return rows


async def entries_matching(conn: Connection, wanted: Row, after_no: int, count: int) -> list[Row]:
    """The first `count` entries after number `after_no` that fit `wanted`.

    Its keys, each of which may be None: from_ms, until_ms (exclusive), client_id, pairing_id, event (a prefix).
    """
    rows: list[Row] = await conn.fetch(
        f"""
        {_ENTRIES}
        WHERE audit_no > $1
          AND ($2::bigint IS NULL OR at_ms >= $2) AND ($3::bigint IS NULL OR at_ms < $3)
          AND ($4::text IS NULL OR client_id = $4) AND ($5::text IS NULL OR pairing_id = $5)
          AND ($6::text IS NULL OR starts_with(event, $6))
        ORDER BY audit_no LIMIT $7
        """,
        after_no,
        *(wanted[name] for name in ("from_ms", "until_ms", "client_id", "pairing_id", "event")),
        count,
    )
    return rows


async def last_seal(conn: Connection) -> Row | None:
    """The newest seal, or None before the first one."""
    row: Row | None = await conn.fetchrow(f"SELECT {_SEAL} FROM audit_seal ORDER BY seal_no DESC LIMIT 1")  # noqa: S608
    return row


async def oldest_unsealed_ms(conn: Connection) -> int | None:
    """When the oldest entry that no seal covers was made; None when there is none."""
    at_ms: int | None = await conn.fetchval(
        "SELECT at_ms FROM audit WHERE audit_no > coalesce((SELECT max(upto_no) FROM audit_seal), 0)"
        " ORDER BY audit_no LIMIT 1"
    )
    return at_ms


async def seals_after(conn: Connection, seal_no: int, count: int) -> list[Row]:
    """The first `count` seals after number `seal_no`, ascending."""
    rows: list[Row] = await conn.fetch(
        f"SELECT {_SEAL} FROM audit_seal WHERE seal_no > $1 ORDER BY seal_no LIMIT $2",  # noqa: S608
        seal_no,
        count,
    )
    return rows


async def add_seal(conn: Connection, seal: Row) -> bool:
    """Add a new seal. False when another process was faster."""
    status: str = await conn.execute(
        "INSERT INTO audit_seal (seal_no, upto_no, entries, last_ms, sealed_ms, digest, chain)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        *(seal[name] for name in ("seal_no", "upto_no", "entries", "last_ms", "sealed_ms", "digest", "chain")),
    )
    return status == "INSERT 0 1"


async def purge_oldest(pool: asyncpg.Pool, before_ms: int, now_ms: int) -> int:
    """Delete the entries of the oldest seal that still has them, if all are older than `before_ms`; how many."""
    async with pool.acquire() as conn, conn.transaction():
        upto_no = await conn.fetchval(
            """
            UPDATE audit_seal SET purged_ms = $2
            WHERE seal_no = (SELECT seal_no FROM audit_seal WHERE purged_ms IS NULL ORDER BY seal_no LIMIT 1)
              AND purged_ms IS NULL AND last_ms < $1
            RETURNING upto_no
            """,
            before_ms,
            now_ms,
        )
        if upto_no is None:
            return 0
        first_no = await conn.fetchval("SELECT audit_no FROM audit ORDER BY audit_no LIMIT 1")
        status: str = await conn.execute(
            "DELETE FROM audit WHERE audit_no BETWEEN $1 AND $2", first_no or upto_no, upto_no
        )
        return int(status.removeprefix("DELETE "))


async def _writers(conn: Connection) -> set[str]:
    return {row["virtualtransaction"] for row in await conn.fetch(_WRITERS)}
