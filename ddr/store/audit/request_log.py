"""Records of the request log that are durable and not yet sealed: one row for what a worker had in hand at one time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from ddr.store.audit.trail import NewEntry
from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.pool import Connection


@dataclass(frozen=True)
class Batch:
    """Lines of one life of a worker, numbered from 1, so that a batch that is stored twice is sealed once."""

    run: UUID
    batch_no: int
    records: bytes


_ADD = "INSERT INTO request_log_fresh (run, batch_no, records) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_ADD_BOTH = f"""
WITH added AS ({_ADD} RETURNING true)
INSERT INTO audit ({", ".join(NewEntry._fields)})
SELECT * FROM unnest($4::uuid[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::jsonb[])
 WHERE EXISTS (SELECT FROM added)"""  # noqa: S608 - names of ours


async def add(conn: Connection, batch: Batch, entries: Sequence[NewEntry] = ()) -> None:
    """Store a batch, and with it the entries of the audit trail of the same requests: all of it or nothing.

    Nothing happens when the batch is there already.
    """
    told = (batch.run, batch.batch_no, batch.records)
    if entries:
        await conn.execute(_ADD_BOTH, *told, *map(list, zip(*entries, strict=True)))
    else:
        await conn.execute(_ADD, *told)


async def add_late(pool: asyncpg.Pool, batches: Iterable[Batch]) -> None:
    """Store batches of which nobody knows whether they were stored before: they may even be sealed by now."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(LOCK, Lock.REQUEST_LOG)
        for batch in batches:
            await conn.execute(
                """
                INSERT INTO request_log_fresh (run, batch_no, records)
                SELECT $1::uuid, $2::bigint, $3::bytea
                 WHERE NOT EXISTS (
                   SELECT FROM request_log_seal s, jsonb_array_elements(s.runs -> $4::text) AS part
                    WHERE s.runs ? $4::text AND $2 BETWEEN (part ->> 0)::bigint AND (part ->> 1)::bigint)
                ON CONFLICT DO NOTHING
                """,
                batch.run,
                batch.batch_no,
                batch.records,
                str(batch.run),
            )
