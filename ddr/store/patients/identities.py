"""Whom the users of an OpenID provider are here: issuer and subject, and no name."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg

_FIND = """
SELECT i.patient_id, p.disabled_ms IS NOT NULL AS disabled
  FROM login_identity i JOIN patient p USING (patient_id) WHERE i.issuer = $1 AND i.subject = $2
"""


async def patient_of(pool: asyncpg.Pool, issuer: str, subject: str, now_ms: int) -> UUID | None:
    """The patient of this user, None while the account is disabled.

    A new patient when the user comes for the first time, also when that is twice at once.
    """
    row = await pool.fetchrow(_FIND, issuer, subject)
    if row is None:
        return await _welcome(pool, issuer, subject, now_ms)
    patient_id: UUID = row["patient_id"]
    return None if row["disabled"] else patient_id


async def find(conn: asyncpg.Pool | asyncpg.Connection, issuer: str, subject: str) -> UUID | None:
    """The patient of this user, or None; also while the account is disabled."""
    found: UUID | None = await conn.fetchval(_FIND, issuer, subject)
    return found


async def _welcome(pool: asyncpg.Pool, issuer: str, subject: str, now_ms: int) -> UUID | None:
    async with pool.acquire() as conn, conn.transaction():
        patient_id: UUID | None = await conn.fetchval(
            """
            INSERT INTO login_identity (issuer, subject, patient_id, created_ms) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING RETURNING patient_id
            """,
            issuer,
            subject,
            uuid4(),
            now_ms,
        )
        if patient_id is not None:
            await conn.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, $2)", patient_id, now_ms)
            return patient_id
    return await patient_of(pool, issuer, subject, now_ms)
