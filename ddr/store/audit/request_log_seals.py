"""The sealed request log, its policies, and the keys that sealed it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from ddr.store.audit.request_log import Batch
from ddr.store.audit.request_log_form import inflated
from ddr.store.database.locks import LOCK, TRY_LOCK, Lock
from ddr.store.database.pool import Connection, Row

COLUMNS = (
    "seal_no", "first_ms", "last_ms", "entries", "sealed_ms", "runs", "policy_no", "digest", "former", "chain",
    "signature", "packed", "form",
)  # fmt: skip
_SEAL = ", ".join(COLUMNS)
_PLACES = ", ".join(f"${number}" for number in range(2, len(COLUMNS) + 2))
INSERT = f"INSERT INTO {{}} (day, {_SEAL}) VALUES ($1, {_PLACES})"  # noqa: S608 - names of ours
MOST_BYTES = 8 * 1024 * 1024  # of lines under one seal, before it is packed
DEFLATES = 4  # a record shrinks to a third, many in one row to less: limits how much is read at once
LATELY = 1000  # the seals of some hours: no statement is later than that
STEP = 20  # seals read at once, each of at most some thousand lines
AHEAD = 3  # days


class End(NamedTuple):
    """Number, link and time (ms since the epoch) of the newest seal; 0 when there is none."""

    seal_no: int
    chain: bytes
    sealed_ms: int


# For each day that has seals, its first and last number; migration 0134.
_NUMBERS = "SELECT day, first, last FROM request_log_numbers() WHERE first IS NOT NULL ORDER BY first"

# By number, not by day, because a clock may have been wrong.
_NEWEST = "SELECT day, last FROM request_log_numbers() ORDER BY last DESC NULLS LAST LIMIT 1"
_END = """
SELECT seal_no, chain, sealed_ms FROM (
  SELECT seal_no, chain, sealed_ms FROM request_log_seal WHERE day = $1 AND seal_no = $2
  UNION ALL (SELECT seal_no, chain, sealed_ms FROM request_log_dropped ORDER BY seal_no DESC LIMIT 1)) AS newest
 ORDER BY seal_no DESC LIMIT 1
"""


async def lock(conn: asyncpg.Connection) -> None:
    """Within a transaction: exclude all others that seal, drop, or add late records."""
    await conn.execute(LOCK, Lock.REQUEST_LOG)


async def open_days(pool: asyncpg.Pool) -> None:
    """Make sure that there is a table for today and for the next days.

    Making one waits for all readers of the log: behind a dump that lasts beyond midnight nothing could be sealed. So
    while somebody reads or seals nothing is done, and nobody has to wait.
    """
    with suppress(asyncpg.LockNotAvailableError):
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SET LOCAL lock_timeout = '100ms'")
            if await conn.fetchval(TRY_LOCK, Lock.REQUEST_LOG):
                for days in range(AHEAD + 1):
                    await conn.execute("SELECT request_log_open((now() AT TIME ZONE 'UTC')::date + $1::integer)", days)


async def waiting(conn: Connection) -> int:
    """How many batches are not sealed yet."""
    count: int = await conn.fetchval("SELECT count(*) FROM request_log_fresh")
    return count


async def fresh(conn: asyncpg.Connection, batches: int) -> list[Batch]:
    """The first batches that are not sealed yet: at most `batches`, and about MOST_BYTES."""
    rows = await conn.fetch(
        """
        SELECT run, batch_no, records FROM (
          SELECT run, batch_no, records, sum(octet_length(records)) OVER (ORDER BY run, batch_no) AS upto
            FROM request_log_fresh ORDER BY run, batch_no LIMIT $1) AS first
         WHERE upto - octet_length(records) < $2
        """,
        batches,
        MOST_BYTES // DEFLATES,
    )
    return await asyncio.to_thread(_upto, rows, MOST_BYTES)


def _upto(rows: Iterable[Row], most: int) -> list[Batch]:
    """The first of these, with their lines, until the lines have `most` bytes."""
    found: list[Batch] = []
    for row in rows:
        found.append(_batch(row))
        most -= len(found[-1].records)
        if most <= 0:
            break
    return found


def _batch(row: Row) -> Batch:
    try:
        return Batch(row["run"], row["batch_no"], inflated(row["records"]))
    except zlib.error:
        return Batch(row["run"], row["batch_no"], row["records"], damaged=True)


async def end(conn: Connection) -> End:
    """The newest seal, whether or not it still exists."""
    row = await conn.fetchrow(_END, *(await conn.fetchrow(_NEWEST) or (None, None)))
    return End(**row) if row else End(0, b"", 0)


_SEALED_LATELY = """
SELECT s.runs FROM unnest($1::date[]) AS wanted (day) CROSS JOIN LATERAL (
  SELECT runs FROM request_log_seal s WHERE s.day = wanted.day AND seal_no > $2 AND s.runs ?| $3::text[]) AS s
"""


async def sealed_lately(conn: asyncpg.Connection, batches: Sequence[Batch], last: End) -> list[Batch]:
    """Those of `batches` that one of the last LATELY seals already covers: a statement that a worker had given up
    succeeded after all, after the batch had been stored from a file."""
    day = datetime.fromtimestamp(last.sealed_ms / 1000, UTC).date()
    days = [day - timedelta(days=1), day]
    runs = list({str(batch.run) for batch in batches})
    sealed: dict[str, list[list[int]]] = {}
    for row in await conn.fetch(_SEALED_LATELY, days, last.seal_no - LATELY, runs):
        for run, parts in row["runs"].items():
            sealed.setdefault(run, []).extend(parts)
    return [
        batch
        for batch in batches
        if any(first <= batch.batch_no <= upto for first, upto in sealed.get(str(batch.run), ()))
    ]


async def add_seal(conn: asyncpg.Connection, seal: Row) -> None:
    """In the same transaction as `fresh`: add the seal."""
    await conn.execute("SELECT request_log_open($1)", seal["day"])
    await conn.execute(INSERT.format("request_log_seal"), *values(seal))


def values(seal: Row) -> list[Any]:
    """The values of a seal for INSERT."""
    return [seal[name] for name in ("day", *COLUMNS)]


async def take_out(conn: asyncpg.Connection, batches: Sequence[Batch]) -> None:
    """In the same transaction as `fresh`: delete the batches that are sealed now."""
    await conn.execute(
        "DELETE FROM request_log_fresh f USING unnest($1::uuid[], $2::bigint[]) AS t(run, batch_no)"
        " WHERE f.run = t.run AND f.batch_no = t.batch_no",
        [batch.run for batch in batches],
        [batch.batch_no for batch in batches],
    )


async def hold(conn: Connection) -> None:
    """First in a transaction: until it ends, no day is packed or dropped, so that each seal is seen once."""
    await conn.execute("LOCK TABLE request_log_seal IN ACCESS SHARE MODE")


# The key is (day, seal_no): each step by seal_no alone would read all seals.
PAGE = f"""
SELECT {_SEAL} FROM unnest($1::date[]) AS wanted (day) CROSS JOIN LATERAL (
  SELECT {_SEAL} FROM request_log_seal s
   WHERE s.day = wanted.day AND seal_no > $2
     AND ($3::bigint IS NULL OR last_ms >= $3) AND ($4::bigint IS NULL OR first_ms < $4)
   ORDER BY seal_no LIMIT $5) AS next
 ORDER BY seal_no LIMIT $5
"""  # noqa: S608 - names of ours


async def seals(conn: Connection, from_ms: int | None = None, until_ms: int | None = None) -> AsyncIterator[Row]:
    """All seals that may contain records of this period, oldest first."""
    seal_no = 0
    for days in await _days(conn):
        while rows := await conn.fetch(PAGE, days, seal_no, from_ms, until_ms, STEP):
            for row in rows:
                yield row
            seal_no = rows[-1]["seal_no"]
            if len(rows) < STEP:
                break


async def _days(conn: Connection) -> list[list[date]]:
    """The days in order, grouped where they share numbers, which clocks around midnight may cause."""
    found: list[list[date]] = []
    upto = 0
    for row in await conn.fetch(_NUMBERS):
        if found and row["first"] <= upto:
            found[-1].append(row["day"])
        else:
            found.append([row["day"]])
        upto = max(upto, row["last"])
    return found


async def newest_dropped(conn: Connection) -> Row | None:
    """Where the chain continued when old days were last dropped: seal_no, sealed_ms, dropped_ms, chain."""
    row: Row | None = await conn.fetchrow(
        "SELECT seal_no, sealed_ms, dropped_ms, chain, signature FROM request_log_dropped ORDER BY seal_no DESC LIMIT 1"
    )
    return row


async def dropped_around(conn: Connection, since_ms: int, until_ms: int | None) -> bool:
    """Whether records of this period were dropped with expired days, because a clock was ahead when they were made."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM request_log_dropped"
        " WHERE ahead_until_ms >= $1 AND ($2::bigint IS NULL OR ahead_from_ms < $2))",
        since_ms,
        until_ms,
    )
    return found


async def drop(pool: asyncpg.Pool, before: date) -> int:
    """Drop the days before `before`, but none of the last 30. Returns how many; 0, and drops nothing, while somebody
    reads the log.

    Days on which no recorder ran do not count. For days from a wrong clock see migration 0104.
    """
    try:
        async with pool.acquire() as conn, conn.transaction():
            await lock(conn)
            days: int = await conn.fetchval("SELECT request_log_drop_days($1)", before)
            return days
    except asyncpg.LockNotAvailableError:
        return 0


async def keys(conn: Connection) -> dict[str, Mapping[str, Any]]:
    """The public keys that sealed, by thumbprint."""
    return dict(await conn.fetch("SELECT kid, jwk FROM request_log_key"))


async def add_key(conn: Connection, kid: str, jwk: Mapping[str, Any], now_ms: int) -> None:
    """Keep a public key; does nothing when it exists already."""
    await conn.execute(
        "INSERT INTO request_log_key (kid, jwk, since_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        kid,
        dict(jwk),
        now_ms,
    )


async def policies(conn: Connection) -> list[Row]:
    """Every policy, oldest first: policy_no, since_ms, policy."""
    rows: list[Row] = await conn.fetch("SELECT policy_no, since_ms, policy FROM request_log_policy ORDER BY policy_no")
    return rows


async def add_policy(conn: Connection, policy_no: int, since_ms: int, policy: Mapping[str, Any]) -> None:
    """Add a policy, which is in force from now on."""
    await conn.execute(
        "INSERT INTO request_log_policy (policy_no, since_ms, policy) VALUES ($1, $2, $3)",
        policy_no,
        since_ms,
        dict(policy),
    )


# Consecutive numbers keep the same distance from their places, so even millions of a worker that is waited for are few
# spans.
_UNSEALED = """
SELECT run::text, array_agg(ARRAY[first, last] ORDER BY first) FROM (
  SELECT run, min(batch_no) AS first, max(batch_no) AS last FROM (
    SELECT run, batch_no, batch_no - row_number() OVER (PARTITION BY run ORDER BY batch_no) AS span
      FROM request_log_fresh) AS numbered
   GROUP BY run, span) AS spans
 GROUP BY run
"""


async def unsealed(conn: Connection) -> dict[str, list[list[int]]]:
    """The numbers of the rows that are not sealed yet, by worker, as spans with both ends inclusive."""
    return dict(await conn.fetch(_UNSEALED))
