"""Consents to research as append-only acts (GDPR Article 7(1); docs/research.md), separate from those to DiGA.

A patient has at most one consent in force. One that a representative gave ends with the representative's right.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import asyncpg

from ddr.store.audit.acting import By, acted, check_right, detail_of
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.consents import BY_PATIENT, Shown, keep_text
from ddr.store.database.pool import Connection
from ddr.store.database.stamps import HOLD_PATIENT

BY_SYSTEM = "system"
_EVER = 2**63 - 1
# Giving and withdrawing wait for each other, and for an export that is being written.
_ABLE = "SELECT FROM patient WHERE patient_id = $1 AND disabled_ms IS NULL FOR NO KEY UPDATE"
_OPEN = """
SELECT g.act_no, g.at_ms FROM research_consent g
 WHERE g.patient_id = $1 AND g.act = 'given'
   AND NOT EXISTS (SELECT FROM research_consent e WHERE e.patient_id = $1 AND e.given_no = g.act_no)"""
_GIVE = """
INSERT INTO research_consent (patient_id, at_ms, act, language, text_sha256, role, representation_id)
VALUES ($1, $2, 'given', $3, $4, $5, $6)"""
_END = """
INSERT INTO research_consent (patient_id, at_ms, act, given_no, ended_by, reason, role, representation_id)
VALUES ($1, $2, 'ended', $3, $4, $5, $6, $7)
ON CONFLICT (patient_id, given_no) WHERE given_no IS NOT NULL DO NOTHING RETURNING true"""
# A consent given after those given at $3 has a higher number, whatever the clock said.
_OPEN_UPTO = f"""{_OPEN}
   AND coalesce(g.act_no <= (SELECT max(o.act_no) FROM research_consent o
                              WHERE o.patient_id = $1 AND o.act = 'given' AND o.at_ms = ANY ($3::bigint[])),
                g.at_ms <= $2)"""  # noqa: S608 - words of ours
_OPEN_OF_RIGHT = f"{_OPEN} AND g.representation_id = $2"
_OF_PATIENT = """
SELECT g.act_no, g.at_ms AS given_ms, g.role AS given_role, g.language, g.text_sha256, t.version, t.content,
       e.at_ms AS ended_ms, e.ended_by, e.reason, e.role AS ended_role
  FROM research_consent g
  LEFT JOIN research_consent e ON e.patient_id = $1 AND e.given_no = g.act_no
  LEFT JOIN consent_text t ON t.text_sha256 = g.text_sha256
 WHERE g.patient_id = $1 AND g.act = 'given' ORDER BY g.act_no"""


async def give(pool: asyncpg.Pool, patient_id: UUID, shown: Shown, now_ms: int) -> bool:
    """The patient, or whoever acts for the patient, consents to research, having read `shown`.

    False when a consent is already in force, or when the account is gone or disabled. Raises RightOver.
    """
    role, representation_id = acted()
    async with pool.acquire() as conn, conn.transaction():
        if await conn.fetchrow(_ABLE, patient_id) is None:
            return False
        await check_right(conn, patient_id, now_ms)
        if await conn.fetchrow(_OPEN, patient_id) is not None:
            return False
        await keep_text(conn, shown, now_ms)
        await conn.execute(_GIVE, patient_id, now_ms, shown.language, shown.digest, role, representation_id)
        await record(conn, Event.RESEARCH_GIVEN, now_ms, patient_id=patient_id, detail=shown.detail)
        return True


async def withdraw(pool: asyncpg.Pool, patient_id: UUID, reason: str, now_ms: int) -> bool:
    """The patient, or whoever acts for the patient, withdraws the consent. False when none is in force.

    This holds whatever the clock said when it was given. Raises RightOver.
    """
    return await _withdraw(pool, patient_id, reason, now_ms, acted(), _EVER, ())


async def withdraw_again(
    pool: asyncpg.Pool, patient_id: UUID, reason: str, withdrawn_ms: int, given_ms: Collection[int], by: By, now_ms: int
) -> bool:
    """Repeat a withdrawal of `withdrawn_ms` that a restored database has lost; a consent that was given later stays.

    The consents given at `given_ms` were withdrawn then and none after them, whatever the clock said.
    """
    return await _withdraw(pool, patient_id, reason, now_ms, by, max(given_ms, default=withdrawn_ms), given_ms)


async def _withdraw(
    pool: asyncpg.Pool, patient_id: UUID, reason: str, now_ms: int, by: By, upto_ms: int, given_ms: Collection[int]
) -> bool:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(HOLD_PATIENT, patient_id)
        await check_right(conn, patient_id, now_ms)
        given = await conn.fetch(_OPEN_UPTO, patient_id, upto_ms, list(given_ms))
        ended = await _end(conn, patient_id, given, now_ms, BY_PATIENT, reason, by)
        if not ended:
            return False
        detail = {**detail_of(*by), "reason": reason}
        ends = {"given_ms": ended}
        await record(conn, Event.RESEARCH_WITHDRAWN, now_ms, patient_id=patient_id, detail=detail, ends=ends)
        return True


async def end_with_right(
    conn: asyncpg.Connection, patient_id: UUID, role: str, representation_id: UUID, reason: str, now_ms: int
) -> None:
    """Within the transaction that ends a right: end a consent that was given by it, too."""
    given = await conn.fetch(_OPEN_OF_RIGHT, patient_id, representation_id)
    if await _end(conn, patient_id, given, now_ms, BY_SYSTEM, reason, (None, None)):
        detail = {**detail_of(role, representation_id), "reason": reason}
        await record(conn, Event.RESEARCH_ENDED_BY_SYSTEM, now_ms, patient_id=patient_id, detail=detail)


async def _end(
    conn: asyncpg.Connection,
    patient_id: UUID,
    given: Collection[asyncpg.Record],
    now_ms: int,
    ended_by: str,
    reason: str,
    by: By,
) -> list[int]:
    """End those of these consents that are still in force. Returns when they had been given."""
    return [
        row["at_ms"]
        for row in given
        if await conn.fetchval(_END, patient_id, now_ms, row["act_no"], ended_by, reason, *by)
    ]


async def of_patient(conn: Connection, patient_id: UUID) -> list[asyncpg.Record]:
    """The patient's consents to research, oldest first, each with the text that was shown and its end (or None)."""
    rows: list[asyncpg.Record] = await conn.fetch(_OF_PATIENT, patient_id)
    return rows
