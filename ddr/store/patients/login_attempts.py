"""Counts attempts to log in, per account and per address, without keeping either.

Counts live in windows of 5 minutes. Each window has its own random key; a counter is found by the HMAC of the account
name or address under that key. Soon after the window the key is deleted, and with it every way to tell whom it counted.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

import asyncpg

WINDOW_MS = 5 * 60 * 1000  # short: the throttle must not become a way to lock a patient out
ACCOUNT_LIMIT = 10
ADDRESS_LIMIT = 100  # a clinic or a mobile network shares one address

# In one order always, so that two attempts cannot wait for each other.
_COUNT = """
INSERT INTO login_attempt (window_no, subject, attempts)
SELECT $1, subject, 1 FROM unnest($2::bytea[]) AS subject ORDER BY subject
ON CONFLICT (window_no, subject) DO UPDATE SET attempts = login_attempt.attempts + 1
RETURNING subject, attempts
"""


@dataclass(frozen=True)
class Attempt:
    """One attempt that was counted; `wait_seconds` > 0 when it must be refused."""

    window_no: int
    account: bytes
    address: bytes
    wait_seconds: int


async def count_attempt(pool: asyncpg.Pool, username: str, network: str, now_ms: int) -> Attempt:
    """Count an attempt before the password is looked at, so that many at once cannot pass the limit."""
    window_no = now_ms // WINDOW_MS
    key = await _key(pool, window_no)
    account, place = _subject(key, "account", username), _subject(key, "address", network)
    rows = await pool.fetch(_COUNT, window_no, [account, place])
    attempts = {row["subject"]: row["attempts"] for row in rows}
    refused = attempts[account] > ACCOUNT_LIMIT or attempts[place] > ADDRESS_LIMIT
    wait = -(-((window_no + 1) * WINDOW_MS - now_ms) // 1000) if refused else 0
    return Attempt(window_no, account, place, wait)


async def forgive(pool: asyncpg.Pool, attempt: Attempt) -> None:
    """The attempt succeeded: the account starts anew, and the address is not charged for it.

    The address keeps its other counts; else an attacker with an own account could clear them.
    """
    await pool.execute(
        "UPDATE login_attempt SET attempts = CASE subject WHEN $2 THEN 0 ELSE attempts - 1 END "
        "WHERE window_no = $1 AND subject = ANY($3::bytea[])",
        attempt.window_no,
        attempt.account,
        [attempt.account, attempt.address],
    )


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete the windows that are over, but the last one: another worker may be about to count in it."""
    await pool.execute("DELETE FROM login_window WHERE window_no < $1", now_ms // WINDOW_MS - 1)


async def _key(pool: asyncpg.Pool, window_no: int) -> bytes:
    key: bytes | None = await pool.fetchval("SELECT key FROM login_window WHERE window_no = $1", window_no)
    if key is None:
        await pool.execute(
            "INSERT INTO login_window VALUES ($1, $2) ON CONFLICT DO NOTHING", window_no, secrets.token_bytes(32)
        )
        return await _key(pool, window_no)
    return key


def _subject(key: bytes, kind: str, text: str) -> bytes:
    return hmac.digest(key, f"{kind}:{text}".encode(), "sha256")
