"""The end of a pairing: by the DiGA, by the patient, by the system (HDDT pairing.md, Unpairing).

Whatever refers to the pairing is invalid from the commit on, on every worker, because each request reads these rows.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

import asyncpg

from ddr.store.audit.trail import Event, record


class Party(StrEnum):
    """Who ends a pairing."""

    DIGA = "diga"
    PATIENT = "patient"
    SYSTEM = "system"


_ENDED = {
    Party.DIGA: Event.PAIRING_ENDED_BY_DIGA,
    Party.PATIENT: Event.PAIRING_ENDED_BY_PATIENT,
    Party.SYSTEM: Event.PAIRING_ENDED_BY_SYSTEM,
}


async def unpair(pool: asyncpg.Pool, patient_id: UUID, pairing_no: int, by: Party, reason: str, now_ms: int) -> bool:
    """End one pairing with all its consents, grants and tokens. False when it had already ended."""
    async with pool.acquire() as conn, conn.transaction():
        return await end(conn, patient_id, pairing_no, by, reason, now_ms)


async def withdraw(pool: asyncpg.Pool, patient_id: UUID, pairing_no: int, valueset: str, now_ms: int) -> bool:
    """The patient takes back one kind of data; with the last one the pairing ends. False when it was not granted."""
    async with pool.acquire() as conn, conn.transaction():
        pairing = await conn.fetchrow(
            "SELECT client_id, pairing_id FROM pairing"
            " WHERE patient_id = $1 AND pairing_no = $2 AND ended_ms IS NULL FOR UPDATE",
            patient_id,
            pairing_no,
        )
        if pairing is None or not await _withdraw(conn, patient_id, pairing_no, valueset, now_ms):
            return False
        await record(
            conn, Event.CONSENT_WITHDRAWN, now_ms, patient_id=patient_id, **pairing, detail={"valueset": valueset}
        )
        if not await _any_consent(conn, patient_id, pairing_no, now_ms):
            await end(conn, patient_id, pairing_no, Party.PATIENT, "consent-withdrawn", now_ms)
        return True


async def unpair_client(pool: asyncpg.Pool, client_id: str, reason: str, now_ms: int) -> int:
    """End every pairing of a DiGA that is retired or gone from the DiGA-VZ (CON-014); returns how many."""
    pairings = await pool.fetch(
        "SELECT patient_id, pairing_no FROM pairing WHERE client_id = $1 AND ended_ms IS NULL", client_id
    )
    return await _unpair_all(pool, pairings, reason, now_ms)


async def unpair_expired(pool: asyncpg.Pool, now_ms: int) -> int:
    """End every pairing whose consents have all run out; returns how many."""
    pairings = await pool.fetch(
        """
        SELECT patient_id, pairing_no FROM pairing
        WHERE ended_ms IS NULL AND NOT EXISTS (
            SELECT FROM consent
            WHERE consent.patient_id = pairing.patient_id AND consent.pairing_no = pairing.pairing_no
              AND withdrawn_ms IS NULL AND until_ms > $1)
        """,
        now_ms,
    )
    return await _unpair_all(pool, pairings, "consent-ended", now_ms)


async def unpair_everyone(pool: asyncpg.Pool, reason: str, now_ms: int) -> int:
    """End every pairing of this recorder, because it no longer offers HDDT (CON-015); returns how many."""
    pairings = await pool.fetch("SELECT patient_id, pairing_no FROM pairing WHERE ended_ms IS NULL")
    return await _unpair_all(pool, pairings, reason, now_ms)


async def end_if_over(conn: asyncpg.Connection, patient_id: UUID, client_id: str, now_ms: int) -> None:
    """Within a transaction: end the pairing with this DiGA if none of its consents is in force any more."""
    pairing_no = await conn.fetchval(
        "SELECT pairing_no FROM pairing WHERE patient_id = $1 AND client_id = $2 AND ended_ms IS NULL FOR UPDATE",
        patient_id,
        client_id,
    )
    if pairing_no is not None and not await _any_consent(conn, patient_id, pairing_no, now_ms):
        await end(conn, patient_id, pairing_no, Party.SYSTEM, "consent-ended", now_ms)


async def _unpair_all(pool: asyncpg.Pool, pairings: list[asyncpg.Record], reason: str, now_ms: int) -> int:
    """One transaction each: a long job blocks nobody, and what is done stays done."""
    ended = [await unpair(pool, row["patient_id"], row["pairing_no"], Party.SYSTEM, reason, now_ms) for row in pairings]
    return sum(ended)


async def end(conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, by: Party, reason: str, now_ms: int) -> bool:
    """Within a transaction: end one pairing with all its consents, grants and tokens. False when it had ended."""
    pairing = await conn.fetchrow(
        "UPDATE pairing SET ended_ms = $3, end_reason = $4"
        " WHERE patient_id = $1 AND pairing_no = $2 AND ended_ms IS NULL RETURNING client_id, pairing_id",
        patient_id,
        pairing_no,
        now_ms,
        reason,
    )
    if pairing is None:
        return False
    for statement in (
        "UPDATE consent SET withdrawn_ms = $3 WHERE patient_id = $1 AND pairing_no = $2 AND withdrawn_ms IS NULL",
        "UPDATE token_grant SET revoked_ms = $3 WHERE patient_id = $1 AND pairing_no = $2 AND revoked_ms IS NULL",
    ):
        await conn.execute(statement, patient_id, pairing_no, now_ms)
    await record(conn, _ENDED[by], now_ms, patient_id=patient_id, **pairing, detail={"reason": reason})
    return True


async def _withdraw(conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, valueset: str, now_ms: int) -> bool:
    status: str = await conn.execute(
        "UPDATE consent SET withdrawn_ms = $4"
        " WHERE patient_id = $1 AND pairing_no = $2 AND miv_url = $3 AND withdrawn_ms IS NULL",
        patient_id,
        pairing_no,
        valueset,
        now_ms,
    )
    return status == "UPDATE 1"


async def _any_consent(conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, now_ms: int) -> bool:
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM consent WHERE patient_id = $1 AND pairing_no = $2"
        " AND withdrawn_ms IS NULL AND until_ms > $3)",
        patient_id,
        pairing_no,
        now_ms,
    )
    return found
