"""The end of a pairing: by the DiGA, by the patient, by the system (HDDT pairing.md, Unpairing).

Whatever refers to the pairing is invalid from the commit on, in every worker, because each request reads these rows.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

import asyncpg

from ddr.store.audit.acting import ACTING, check_right
from ddr.store.audit.trail import Event, record
from ddr.store.authorization import consents

EXPIRED = "consent-ended"  # the end that the patient chose has come


class Party(StrEnum):
    """Who ends a pairing."""

    DIGA = "diga"
    PATIENT = consents.BY_PATIENT
    SYSTEM = "system"
    OPERATOR = "operator"


_ENDED = {
    Party.DIGA: Event.PAIRING_ENDED_BY_DIGA,
    Party.PATIENT: Event.PAIRING_ENDED_BY_PATIENT,
    Party.SYSTEM: Event.PAIRING_ENDED_BY_SYSTEM,
    Party.OPERATOR: Event.PAIRING_ENDED_BY_OPERATOR,
}


# Uses the index of consents in force, so ended ones are not looked at again. What exceeds the limit waits for the next
# round.
_RUN_OUT = """
SELECT patient_id, pairing_no FROM consent
 WHERE withdrawn_ms IS NULL AND until_ms <= $1 ORDER BY until_ms LIMIT 10000"""


async def unpair(pool: asyncpg.Pool, patient_id: UUID, pairing_no: int, by: Party, reason: str, now_ms: int) -> bool:
    """End one pairing with all its consents, grants and tokens. False when it had already ended. Raises RightOver."""
    async with pool.acquire() as conn, conn.transaction():
        await _check(conn, patient_id, by, now_ms)
        return await end(conn, patient_id, pairing_no, by, reason, now_ms)


async def _check(conn: asyncpg.Connection, patient_id: UUID, by: Party, now_ms: int) -> None:
    """Only whoever may act for the patient ends something in the patient's name. Raises RightOver."""
    if by is Party.PATIENT:
        await check_right(conn, patient_id, now_ms)


def withdrawn() -> str:
    """Why something is withdrawn now: by the patient, or by whoever acts for the patient."""
    return "withdrawn-by-representative" if ACTING.get() else "consent-withdrawn"


async def withdraw(pool: asyncpg.Pool, patient_id: UUID, pairing_no: int, valueset: str, now_ms: int) -> bool:
    """The patient withdraws one kind of data; with the last one the pairing ends. False when it was not granted.

    Raises RightOver.
    """
    async with pool.acquire() as conn, conn.transaction():
        return await end_kind(conn, patient_id, pairing_no, valueset, Party.PATIENT, withdrawn(), now_ms)


async def lose(pool: asyncpg.Pool, client_id: str, valueset: str, now_ms: int) -> int:
    """A DiGA may no longer read a kind of data: end the consents to it (REG-011). Returns how many pairings had one.

    When the DiGA-VZ permits it again, the patients are asked again.
    """
    pairings = await pool.fetch(
        """
        SELECT DISTINCT patient_id, pairing_no FROM pairing JOIN consent USING (patient_id, pairing_no)
         WHERE client_id = $1 AND ended_ms IS NULL AND miv_url = $2 AND withdrawn_ms IS NULL
        """,
        client_id,
        valueset,
    )
    ended = 0
    for patient_id, pairing_no in pairings:
        async with pool.acquire() as conn, conn.transaction():
            ended += await end_kind(conn, patient_id, pairing_no, valueset, Party.SYSTEM, "permission-lost", now_ms)
    return ended


async def unpair_client(pool: asyncpg.Pool, client_id: str, reason: str, now_ms: int) -> int:
    """End every pairing of a DiGA that is retired or gone from the DiGA-VZ (CON-014). Returns how many."""
    pairings = await pool.fetch(
        "SELECT patient_id, pairing_no FROM pairing WHERE client_id = $1 AND ended_ms IS NULL", client_id
    )
    return await _unpair_all(pool, pairings, reason, now_ms)


async def unpair_expired(pool: asyncpg.Pool, now_ms: int) -> int:
    """End every consent that has expired, and every pairing that has no other. Returns how many pairings ended."""
    ended = 0
    for patient_id, pairing_no in dict.fromkeys(map(tuple, await pool.fetch(_RUN_OUT, now_ms))):
        async with pool.acquire() as conn, conn.transaction():
            await _lock(conn, patient_id, pairing_no)
            ended += await _expire(conn, patient_id, pairing_no, now_ms)
    return ended


async def unpair_everyone(pool: asyncpg.Pool, reason: str, now_ms: int) -> int:
    """End every pairing of this recorder, because it no longer offers HDDT (CON-015). Returns how many."""
    pairings = await pool.fetch("SELECT patient_id, pairing_no FROM pairing WHERE ended_ms IS NULL")
    return await _unpair_all(pool, pairings, reason, now_ms)


async def end_if_over(conn: asyncpg.Connection, patient_id: UUID, client_id: str, now_ms: int) -> None:
    """Within a transaction: end the expired consents of the pairing with this DiGA, and the pairing if none is left."""
    pairing_no = await conn.fetchval(
        "SELECT pairing_no FROM pairing WHERE patient_id = $1 AND client_id = $2 AND ended_ms IS NULL FOR UPDATE",
        patient_id,
        client_id,
    )
    if pairing_no is not None:
        await _expire(conn, patient_id, pairing_no, now_ms)


async def end_all(conn: asyncpg.Connection, patient_id: UUID, by: Party, reason: str, now_ms: int) -> None:
    """Within a transaction: end all pairings of a patient."""
    for row in await conn.fetch(
        "SELECT pairing_no FROM pairing WHERE patient_id = $1 AND ended_ms IS NULL", patient_id
    ):
        await end(conn, patient_id, row["pairing_no"], by, reason, now_ms)


async def _unpair_all(pool: asyncpg.Pool, pairings: list[asyncpg.Record], reason: str, now_ms: int) -> int:
    """Uses one transaction for each: a long job blocks nobody, and what is done stays done."""
    ended = [await unpair(pool, row["patient_id"], row["pairing_no"], Party.SYSTEM, reason, now_ms) for row in pairings]
    return sum(ended)


async def end(conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, by: Party, reason: str, now_ms: int) -> bool:
    """Within a transaction: end a pairing with all its consents, grants and tokens. False when it had already ended."""
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
    await consents.close(conn, patient_id, pairing_no, by, reason, now_ms)
    await conn.execute(
        "UPDATE token_grant SET revoked_ms = $3 WHERE patient_id = $1 AND pairing_no = $2 AND revoked_ms IS NULL",
        patient_id,
        pairing_no,
        now_ms,
    )
    await record(conn, _ENDED[by], now_ms, patient_id=patient_id, **pairing, detail={"reason": reason})
    return True


async def end_kind(
    conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, valueset: str, by: Party, reason: str, now_ms: int
) -> bool:
    """Within a transaction: end the consents to one kind of data, and with the last one the pairing.

    False when there was nothing to end. Raises RightOver.
    """
    await _check(conn, patient_id, by, now_ms)
    pairing = await _lock(conn, patient_id, pairing_no)
    if pairing is None:
        return False
    granted_ms = await consents.close(conn, patient_id, pairing_no, by, reason, now_ms, valueset)
    if not granted_ms:
        return False
    event = Event.CONSENT_WITHDRAWN if by is Party.PATIENT else Event.CONSENT_ENDED_BY_SYSTEM
    detail = {"valueset": valueset} if by is Party.PATIENT else {"valueset": valueset, "reason": reason}
    ends = {"granted_ms": granted_ms}
    await record(conn, event, now_ms, patient_id=patient_id, **pairing, detail=detail, ends=ends)
    if not await consents.any_in_force(conn, patient_id, pairing_no, now_ms):
        await end(conn, patient_id, pairing_no, by, reason, now_ms)
    return True


async def _expire(conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, now_ms: int) -> bool:
    """End the expired consents of a locked pairing. True when none was left and the pairing has ended, too."""
    if not await consents.any_in_force(conn, patient_id, pairing_no, now_ms) and await end(
        conn, patient_id, pairing_no, Party.SYSTEM, EXPIRED, now_ms
    ):
        return True
    kinds = await consents.close_expired(conn, patient_id, pairing_no, Party.SYSTEM, EXPIRED, now_ms)
    pairing = await _lock(conn, patient_id, pairing_no)
    if pairing is None:
        return False
    for valueset in kinds:
        detail = {"valueset": valueset, "reason": EXPIRED}
        await record(conn, Event.CONSENT_ENDED_BY_SYSTEM, now_ms, patient_id=patient_id, **pairing, detail=detail)
    return False


async def _lock(conn: asyncpg.Connection, patient_id: UUID, pairing_no: int) -> asyncpg.Record | None:
    """client_id and pairing_id of a living pairing, locked until the end of the transaction."""
    found: asyncpg.Record | None = await conn.fetchrow(
        "SELECT client_id, pairing_id FROM pairing"
        " WHERE patient_id = $1 AND pairing_no = $2 AND ended_ms IS NULL FOR UPDATE",
        patient_id,
        pairing_no,
    )
    return found
