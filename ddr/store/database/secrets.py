"""Server-wide secrets in the database: created on first start, the same for every worker."""

from __future__ import annotations

import secrets
import time

import asyncpg

NAMES = ("resource-ids", "page-links", "pairing-ids", "refresh-tokens", "known-browsers")
LENGTH = 32


async def load_secrets(pool: asyncpg.Pool) -> dict[str, bytes]:
    """All secrets by name, 32 bytes each. Missing ones are created; of several workers that try, the first one wins."""
    now_ms = time.time_ns() // 1_000_000
    await pool.executemany(
        "INSERT INTO secret (name, value, created_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [(name, secrets.token_bytes(LENGTH), now_ms) for name in sorted(NAMES)],
    )
    return {row["name"]: row["value"] for row in await pool.fetch("SELECT name, value FROM secret")}
