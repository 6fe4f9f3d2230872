"""Records of the request log that are durable and not yet sealed: one row for all that a worker wrote at one time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ddr.aside import in_thread
from ddr.store.audit.request_log_form import deflated
from ddr.store.audit.trail import NewEntry
from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.pool import Connection
from ddr.store.database.spreading import is_spread


@dataclass(frozen=True)
class Batch:
    """Lines of one run of a worker, numbered from 1, so that a batch that is stored twice is sealed once.

    `damaged`: what is stored cannot be turned into lines; `records` has it as it is.
    """

    run: UUID
    batch_no: int
    records: bytes
    damaged: bool = False


class Retired(NamedTuple):
    """A refresh token that was rotated, and its grant."""

    patient_id: UUID
    grant_no: int
    refresh_sha256: bytes


class RotationLost(Exception):
    """A rotation that was made, or seen, is not in the database any more."""


# There is no ON CONFLICT: its tentative row is one more record in the database's log.
_ADD = "INSERT INTO request_log_fresh (run, batch_no, records) VALUES ($1, $2, $3)"
_WITH_ENTRIES = f"WITH added AS ({_ADD}) INSERT INTO audit ({', '.join(NewEntry._fields)})"
_ADD_WITH_ONE = f"{_WITH_ENTRIES} VALUES ($4, $5, $6, $7, $8, $9)"  # a fifth cheaper, and nearly always the case
_ADD_WITH_SEVERAL = f"""{_WITH_ENTRIES}
SELECT * FROM unnest($4::uuid[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::jsonb[])"""  # noqa: S608 - names of ours

# A rotation does not wait for the disk. The database may have lost it in a crash since, or a standby without it may be
# the primary now: then the former token is the current one, and this record would not make the rotation durable.
_ADD_AFTER_ONE = """
INSERT INTO request_log_fresh (run, batch_no, records) SELECT $1::uuid, $2::bigint, $3::bytea
 WHERE NOT EXISTS (SELECT FROM token_grant WHERE patient_id = $4 AND grant_no = $5 AND refresh_sha256 = $6)
RETURNING true"""
_ADD_AFTER_SEVERAL = f"""
  WITH added AS (
         INSERT INTO request_log_fresh (run, batch_no, records)
         SELECT $1::uuid, $2::bigint, $3::bytea
          WHERE NOT EXISTS (SELECT FROM unnest($4::uuid[], $5::bigint[], $6::bytea[])
                                     AS r (patient_id, grant_no, refresh_sha256)
                                   JOIN token_grant USING (patient_id, grant_no, refresh_sha256))
         RETURNING run),
       told AS (
         INSERT INTO audit ({", ".join(NewEntry._fields)})
         SELECT e.* FROM added
          CROSS JOIN unnest($7::uuid[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::jsonb[]) AS e)
SELECT EXISTS (SELECT FROM added)"""  # noqa: S608 - names of ours


async def add(
    conn: Connection, batch: Batch, entries: Sequence[NewEntry] = (), retired: Sequence[Retired] = ()
) -> None:
    """Store a batch together with the entries of the audit trail of the same requests: all or nothing.

    Raises RotationLost when one of the `retired` tokens is current, and asyncpg.UniqueViolationError when the batch
    exists already, stored by `add_late` in the meantime.
    """
    told = (batch.run, batch.batch_no, deflated(batch.records))
    if retired and not is_spread(conn):  # where patients are spread, a rotation waits for its own disk
        if not await _add_after(conn, told, entries, retired):
            raise RotationLost
    elif len(entries) == 1:
        await conn.execute(_ADD_WITH_ONE, *told, *entries[0])
    elif entries:
        await conn.execute(_ADD_WITH_SEVERAL, *told, *map(list, zip(*entries, strict=True)))
    else:
        await conn.execute(_ADD, *told)


async def _add_after(
    conn: Connection, told: Sequence[object], entries: Sequence[NewEntry], retired: Sequence[Retired]
) -> bool:
    """Whether the batch could be stored: not while one of the `retired` tokens is current."""
    if len(retired) == 1 and not entries:  # cheaper, and nearly always the case
        return await conn.fetchval(_ADD_AFTER_ONE, *told, *retired[0]) is not None
    columns = zip(*entries, strict=True) if entries else [()] * len(NewEntry._fields)
    stored: bool = await conn.fetchval(_ADD_AFTER_SEVERAL, *told, *map(list, [*zip(*retired, strict=True), *columns]))
    return stored


# All seals are searched once, however many batches there are: after a long outage there are thousands.
_ADD_LATE = """
  WITH late AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS t (run, batch_no, records)),
       wanted AS (SELECT run::text AS run, min(batch_no) AS low, max(batch_no) AS high FROM late GROUP BY run),
       sealed AS MATERIALIZED (
         SELECT w.run, (part ->> 0)::bigint AS first, (part ->> 1)::bigint AS last
           FROM request_log_seal s JOIN wanted w ON s.runs ? w.run
          CROSS JOIN LATERAL jsonb_array_elements(s.runs -> w.run) AS part
          WHERE (part ->> 1)::bigint >= w.low AND (part ->> 0)::bigint <= w.high)
INSERT INTO request_log_fresh (run, batch_no, records)
SELECT run, batch_no, records FROM late
 WHERE NOT EXISTS (SELECT FROM sealed s WHERE s.run = late.run::text AND late.batch_no BETWEEN s.first AND s.last)
ON CONFLICT DO NOTHING"""


async def add_late(pool: asyncpg.Pool, batches: Sequence[Batch]) -> None:
    """Store batches (at least one) that may have been stored before, and may even be sealed."""
    runs, numbers = [batch.run for batch in batches], [batch.batch_no for batch in batches]
    records = await in_thread(lambda: [deflated(batch.records) for batch in batches])
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(LOCK, Lock.REQUEST_LOG)
        await conn.execute(_ADD_LATE, runs, numbers, records)
