"""Whom the users of an OpenID provider are here: issuer and subject, and no name."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg


async def patient_of(pool: asyncpg.Pool, issuer: str, subject: str, now_ms: int) -> UUID:
    """The patient of this user; a new one when the user comes for the first time, also when that is twice at once."""
    known = await find(pool, issuer, subject)
    return known or await _welcome(pool, issuer, subject, now_ms)


async def find(conn: asyncpg.Pool | asyncpg.Connection, issuer: str, subject: str) -> UUID | None:
    """The patient of this user, or None."""
    found: UUID | None = await conn.fetchval(
        "SELECT patient_id FROM login_identity WHERE issuer = $1 AND subject = $2", issuer, subject
    )
    return found


async def _welcome(pool: asyncpg.Pool, issuer: str, subject: str, now_ms: int) -> UUID:
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
