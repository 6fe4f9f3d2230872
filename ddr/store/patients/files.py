"""The file that a patient has uploaded on the page "Devices": kept until it is imported, and for a day to undo that."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS
from ddr.store.audit.acting import check_right
from ddr.store.database.pool import Connection
from ddr.store.database.sweeping import delete_due

KEEP_MS = DAY_MS


@dataclass(frozen=True)
class WaitingFile:
    """`digest` names the import; `taken_ms` is None until its first values have been stored in the record."""

    digest: str
    content: bytes
    taken_ms: int | None


_KEEP = """
INSERT INTO patient_file (patient_id, digest, content, created_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT (patient_id) DO UPDATE
   SET digest = excluded.digest, content = excluded.content, created_ms = excluded.created_ms,
       taken_ms = CASE WHEN patient_file.digest = excluded.digest THEN patient_file.taken_ms END"""


async def keep(pool: asyncpg.Pool, patient_id: UUID, digest: str, content: bytes, now_ms: int) -> None:
    """Keep this file instead of the one before; the same file keeps its state. Raises RightOver."""
    packed = gzip.compress(content, 1)
    async with pool.acquire() as conn, conn.transaction():
        await check_right(conn, patient_id, now_ms)
        await conn.execute(_KEEP, patient_id, digest, packed, now_ms)


async def find(pool: Connection, patient_id: UUID, now_ms: int) -> WaitingFile | None:
    """The patient's file, if there is one that is not older than a day."""
    row = await pool.fetchrow(
        "SELECT digest, content, taken_ms FROM patient_file WHERE patient_id = $1 AND created_ms > $2",
        patient_id,
        now_ms - KEEP_MS,
    )
    return row and WaitingFile(row["digest"], gzip.decompress(row["content"]), row["taken_ms"])


async def last_taken(pool: Connection, patient_id: UUID, now_ms: int) -> asyncpg.Record | None:
    """`digest` and `taken_ms` of the patient's file whose values can be taken back, if there is one."""
    return await pool.fetchrow(
        "SELECT digest, taken_ms FROM patient_file WHERE patient_id = $1 AND created_ms > $2 AND taken_ms IS NOT NULL",
        patient_id,
        now_ms - KEEP_MS,
    )


async def note_taken(pool: Connection, patient_id: UUID, digest: str, now_ms: int | None) -> None:
    """Note that values of this file were stored in the record; None: that they were taken back."""
    await pool.execute(
        "UPDATE patient_file SET taken_ms = $3 WHERE patient_id = $1 AND digest = $2", patient_id, digest, now_ms
    )


async def sweep(pool: Connection, now_ms: int) -> None:
    """Delete the files that are more than a day old."""
    await delete_due(pool, "patient_file", "created_ms", now_ms - KEEP_MS + 1)
