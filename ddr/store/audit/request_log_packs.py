"""Days of the request log that are packed or being packed: seals in the new form, and the words that they refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import asyncpg

from ddr.store.audit.request_log_seals import COLUMNS, INSERT, lock, values
from ddr.store.database.pool import Connection

_SEAL = ", ".join(("day", *COLUMNS))
STEP = 20  # seals packed in one transaction, each of at most some thousand lines


async def due(conn: Connection, before: date) -> date | None:
    """The oldest day before `before` that is not packed; None when there is none."""
    day: date | None = await conn.fetchval(
        """
        SELECT min(day) FROM (
          SELECT request_log_day(c.relname) AS day
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'request_log_seal'::regclass AND c.relkind = 'r') AS there
         WHERE day < $1
           AND NOT EXISTS (SELECT FROM request_log_pack p WHERE p.day = there.day AND p.packed_ms IS NOT NULL)
        """,
        before,
    )
    return day


async def begin(pool: asyncpg.Pool, day: date) -> bool:
    """Make sure that a day's tables of packed seals and words exist. False when that must wait for readers."""
    return await _alone(pool, "SELECT true FROM request_log_pack_open($1)", day)


async def begin_anew(pool: asyncpg.Pool, day: date) -> bool:
    """Delete what is packed of a day that is not finished. False when it is finished, or must wait as for `begin`."""
    return await _alone(pool, "SELECT request_log_pack_anew($1)", day)


async def words(conn: Connection, day: date) -> list[bytes]:
    """The parts of the words of a day, in order. A missing part is empty: words are numbered through all parts."""
    there = dict(await conn.fetch("SELECT part, body FROM request_log_word WHERE day = $1", day))
    return [there.get(part, b"") for part in range(1, max(there, default=0) + 1)]


async def unpacked(conn: Connection, day: date) -> list[Mapping[str, Any]]:
    """The next seals of a day that are not packed yet, with all columns, by number."""
    rows: list[Mapping[str, Any]] = await conn.fetch(
        f"SELECT {_SEAL} FROM request_log_seal"  # noqa: S608 - names of ours
        " WHERE day = $1 AND seal_no > (SELECT coalesce(max(seal_no), 0) FROM request_log_packed WHERE day = $1)"
        " ORDER BY seal_no LIMIT $2",
        day,
        STEP,
    )
    return rows


async def add(pool: asyncpg.Pool, seals: Sequence[Mapping[str, Any]], learnt: tuple[int, bytes] | None) -> bool:
    """Store seals of one day in their new form, together with the part of words, with its number, that they are the
    first to refer to: all or nothing. False when another process was faster: with the seals, with the number, or with
    the whole day.
    """
    day = seals[0]["day"]
    try:
        async with pool.acquire() as conn, conn.transaction():
            await conn.executemany(INSERT.format("request_log_packed"), [values(seal) for seal in seals])
            if learnt is not None:
                await conn.execute("INSERT INTO request_log_word (day, part, body) VALUES ($1, $2, $3)", day, *learnt)
    except asyncpg.UniqueViolationError:
        return False
    except asyncpg.CheckViolationError as error:
        if error.constraint_name is None:  # the packed seals have replaced the day, so no partition is there
            return False
        raise
    return True


async def finish(pool: asyncpg.Pool, day: date, now_ms: int) -> bool:
    """Replace the unpacked seals of a day by the packed ones. False when that must wait, because a seal came late or
    somebody reads the log, and when another process was faster.
    """
    try:
        return await _alone(pool, "SELECT request_log_pack_close($1, $2)", day, now_ms)
    except asyncpg.UndefinedTableError:  # the session saw only after it got the lock what another one had done
        return False


async def _alone(pool: asyncpg.Pool, statement: str, *arguments: object) -> bool:
    """The result of a function that changes tables, while nobody seals; False when somebody holds them."""
    try:
        async with pool.acquire() as conn, conn.transaction():
            await lock(conn)
            done: bool = await conn.fetchval(statement, *arguments)
            return done
    except asyncpg.LockNotAvailableError:
        return False
