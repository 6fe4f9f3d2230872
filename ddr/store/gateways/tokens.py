"""Bearer tokens of gateway apps: only their SHA-256 is kept, a token itself is shown once."""

from __future__ import annotations

import secrets
from uuid import UUID

from ddr.store.database.digest import sha256
from ddr.store.database.pool import Connection


async def create(conn: Connection, patient_id: UUID, now_ms: int) -> str:
    """A new token (256 random bits) that lets a gateway write for this patient."""
    token = secrets.token_urlsafe(32)
    await conn.execute(
        "INSERT INTO gateway_token (token_sha256, patient_id, created_ms) VALUES ($1, $2, $3)",
        sha256(token), patient_id, now_ms,
    )  # fmt: skip
    return token


async def find(conn: Connection, token_sha256: bytes) -> UUID | None:
    """The patient of a live token, or None."""
    found: UUID | None = await conn.fetchval(
        "SELECT patient_id FROM gateway_token WHERE token_sha256 = $1 AND revoked_ms IS NULL", token_sha256
    )
    return found


async def revoke(conn: Connection, token: str, now_ms: int) -> bool:
    """End a token; workers follow within the time of their caches. False when it was not alive."""
    status: str = await conn.execute(
        "UPDATE gateway_token SET revoked_ms = $2 WHERE token_sha256 = $1 AND revoked_ms IS NULL", sha256(token), now_ms
    )
    return status == "UPDATE 1"
