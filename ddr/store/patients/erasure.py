"""The deletion of a patient: every row of the patient, in one transaction (GDPR Article 17).

Nothing is deleted from the audit trail: it says that somebody's data were read and later deleted, and as no row links
its patient_id to an account any more, nobody can tell whose data they were.

A request that saw the patient a moment before may still write afterwards: a poll that it read, a login its session. So
the patient's rows are deleted once more some minutes later.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import asyncpg

from ddr.durations import MINUTE_MS
from ddr.store.audit.acting import check_right
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.representations import end_all_of
from ddr.store.authorization.unpairing import Party, end_all
from ddr.store.database.pool import Connection
from ddr.store.patients.sessions import close_all

REASON = "data-deleted"
PATIENCE_SECONDS = 4.0  # for uploads of the patient in progress; they wait less long for each other, and give way
AGAIN_MS = 10 * MINUTE_MS  # longer than any request takes
STEP = 100  # patients

# The proof of consents can only be deleted when the patient is gone. Epochs come first: an upload in progress holds a
# lock on one, and later statements see what it wrote.
TABLES = (
    "epoch", "epoch_version", "chunk", "upload", "gateway_request", "calibration", "sensor", "device", "measurement",
    "measurement_version", "search_rest", "grace", "authorization_code", "token_grant", "consent", "pairing_directory",
    "pairing", "opening", "pushed_request", "gateway_token", "gateway_code", "browser_session", "login_identity",
    "account", "representation", "claim", "withdrawn_calibration", "patient_file", "patient", "consent_record",
    "research_given", "research_consent", "standing",
)  # fmt: skip


async def contents(pool: asyncpg.Pool, patient_id: UUID) -> dict[str, int]:
    """How many rows of the patient each table has, in the order of TABLES; tables without any are left out."""
    counted = " UNION ALL ".join(
        f"SELECT '{table}' AS name, count(*) AS rows FROM {table} WHERE patient_id = $1" for table in TABLES
    )
    rows = await pool.fetch(f"SELECT name, rows FROM ({counted}) AS counted WHERE rows > 0", patient_id)
    found = {row["name"]: row["rows"] for row in rows}
    return {table: found[table] for table in TABLES if table in found}


# In the order in which others lock them before what is deleted below: a right before the sessions that end with it, a
# pairing before a code, a code before its grant.
_LOCKS = (
    "SELECT FROM representation WHERE patient_id = $1 ORDER BY representation_id FOR UPDATE",
    "SELECT FROM pairing WHERE patient_id = $1 ORDER BY pairing_no FOR UPDATE",
)
# Where patients are spread, codes are distributed by their own keys, and can only be locked there one by one.
_CODES = "SELECT code_sha256 FROM authorization_code WHERE patient_id = $1 ORDER BY code_sha256"
_LOCK_CODE = "SELECT FROM authorization_code WHERE code_sha256 = $1 FOR UPDATE"
_NOTE = "INSERT INTO erased (patient_id, at_ms) VALUES ($1, $2) ON CONFLICT (patient_id) DO NOTHING"
_DUE = f"SELECT patient_id FROM erased WHERE at_ms <= $1 ORDER BY at_ms LIMIT {STEP}"


async def delete_patient(
    pool: asyncpg.Pool,
    patient_id: UUID,
    now_ms: int,
    by: Party = Party.PATIENT,
    told: Callable[[str, int], None] | None = None,
) -> bool:
    """End the patient's pairings and delete all of the patient's rows. False when there is no such patient.

    `told` is called for each table with the number of deleted rows; they are only gone when all are. Raises RightOver.
    """
    patience = max(PATIENCE_SECONDS, pool.limits.lock)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(f"SET LOCAL lock_timeout = {int(patience * 1000)}")
        if await conn.fetchrow("SELECT FROM patient WHERE patient_id = $1 FOR UPDATE", patient_id) is None:
            return False
        for lock in _LOCKS:
            await conn.execute(lock, patient_id)
        await check_right(conn, patient_id, now_ms)
        for row in await conn.fetch(_CODES, patient_id):
            await conn.execute(_LOCK_CODE, row["code_sha256"])
        await end_all(conn, patient_id, by, REASON, now_ms)
        await end_all_of(conn, patient_id, now_ms)
        await close_all(conn, patient_id)
        for table in TABLES:
            status = await conn.execute(f"DELETE FROM {table} WHERE patient_id = $1", patient_id)
            if told is not None:
                told(table, int(status.split()[-1]))
        await conn.execute(_NOTE, patient_id, now_ms)
        event = Event.DATA_DELETED if by is Party.PATIENT else Event.DATA_DELETED_BY_OPERATOR
        await record(conn, event, now_ms, patient_id=patient_id)
        return True


async def is_gone(conn: Connection, patient_id: UUID) -> bool:
    """True when there is no such patient (any more)."""
    return await conn.fetchrow("SELECT FROM patient WHERE patient_id = $1", patient_id) is None


async def delete_rest(pool: asyncpg.Pool, now_ms: int) -> int:
    """Delete what requests in progress wrote while their patient was deleted. Returns how many rows there were."""
    count = 0
    for row in await pool.fetch(_DUE, now_ms - AGAIN_MS):
        patient_id = row["patient_id"]
        async with pool.acquire() as conn, conn.transaction():
            if await is_gone(conn, patient_id):
                for table in TABLES:
                    status = await conn.execute(f"DELETE FROM {table} WHERE patient_id = $1", patient_id)
                    count += int(status.split()[-1])
            await conn.execute("DELETE FROM erased WHERE patient_id = $1", patient_id)
    return count
