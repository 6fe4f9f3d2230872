"""Requests of gateways with an Idempotency-Key, and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg

Row = Mapping[str, Any]

KEEP_MS = 86_400_000  # how long an answer is kept


async def claim(
    pool: asyncpg.Pool, patient_id: UUID, key: str, digest: bytes, now_ms: int, patience_ms: int
) -> Row | None:
    """Note that the request `key` is worked on from now; the earlier one (request_sha256, status, answer) if there is.

    Answers older than KEEP_MS count no more, and work that began before `patience_ms` is taken for lost.
    """
    claimed = await pool.fetchval(
        """INSERT INTO gateway_request AS r (patient_id, request_key, request_sha256, created_ms)
           VALUES ($1, $2, $3, $4) ON CONFLICT (patient_id, request_key) DO UPDATE
              SET request_sha256 = excluded.request_sha256, status = NULL, answer = NULL,
                  created_ms = excluded.created_ms
            WHERE r.created_ms < $5 OR r.status IS NULL AND r.created_ms < $6
           RETURNING true""",
        patient_id, key, digest, now_ms, now_ms - KEEP_MS, patience_ms,
    )  # fmt: skip
    if claimed:
        return None
    row: Row | None = await pool.fetchrow(
        "SELECT request_sha256, status, answer FROM gateway_request WHERE patient_id = $1 AND request_key = $2",
        patient_id, key,
    )  # fmt: skip
    return row


async def keep(pool: asyncpg.Pool, patient_id: UUID, key: str, status: int, answer: bytes) -> None:
    """Keep the answer."""
    await pool.execute(
        "UPDATE gateway_request SET status = $3, answer = $4 WHERE patient_id = $1 AND request_key = $2",
        patient_id, key, status, answer,
    )  # fmt: skip


async def release(pool: asyncpg.Pool, patient_id: UUID, key: str) -> None:
    """Forget a request that failed."""
    await pool.execute(
        "DELETE FROM gateway_request WHERE patient_id = $1 AND request_key = $2 AND status IS NULL", patient_id, key
    )


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Forget the answers that are too old to be given again."""
    await pool.execute("DELETE FROM gateway_request WHERE created_ms < $1", now_ms - KEEP_MS)
