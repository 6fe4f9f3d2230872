"""The patients of the users of an OpenID provider, by issuer and subject, without a name."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg

from ddr.store.database.able import able
from ddr.store.database.pool import Connection


async def patient_of(pool: asyncpg.Pool, issuer: str, subject: str, now_ms: int) -> UUID | None:
    """The patient of this user; None while the account is disabled.

    Creates a new patient when the user comes for the first time, once even for concurrent requests.
    """
    patient_id = await find(pool, issuer, subject)
    if patient_id is None:
        return await _welcome(pool, issuer, subject, now_ms)
    return patient_id if await able(pool, patient_id) else None


async def find(conn: Connection, issuer: str, subject: str) -> UUID | None:
    """The patient of this user, or None; also while the account is disabled."""
    found: UUID | None = await conn.fetchval(
        "SELECT patient_id FROM login_identity WHERE issuer = $1 AND subject = $2", issuer, subject
    )
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
