"""Counts attempts to log in, per account, per known browser and per address, without storing any of them.

Counters belong to windows of 15 minutes. Each window has its own random key; a counter is found by the HMAC, under that
key, of what it counts. Soon after the window the key is deleted, and nobody can tell any more whom it counted.

The password is checked first: a right one is accepted however many wrong ones somebody else tried. A wrong one beyond
the limit is told to wait. Beyond a second limit, which bounds guessing (NIST SP 800-63B section 5.2.2), passwords from
unknown browsers are not checked any more. A browser that logged in before has its own counters (OWASP: device cookies),
so that no stranger can lock out the owner.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

import asyncpg

from ddr.durations import MINUTE_MS
from ddr.store.database.names import account_name

WINDOW_MS = 15 * MINUTE_MS
ACCOUNT_LIMIT = 10  # wrong passwords that are answered as wrong; further ones are told to wait
ASKED_LIMIT = 50  # passwords from unknown browsers that are checked for one account
ADDRESS_LIMIT = 100  # wrong passwords from one address, which a clinic or a mobile network shares

# Always in the same order, so that two attempts cannot wait for each other.
_COUNT = """
INSERT INTO login_attempt (window_no, subject, attempts)
SELECT $1, subject, 1 FROM unnest($2::bytea[]) AS subject ORDER BY subject
ON CONFLICT (window_no, subject) DO UPDATE SET attempts = login_attempt.attempts + 1
RETURNING subject, attempts
"""

_FORGIVE = """
WITH held AS MATERIALIZED (
  SELECT subject FROM login_attempt WHERE window_no = $1 AND subject = ANY($3::bytea[])
   ORDER BY subject FOR NO KEY UPDATE
)
UPDATE login_attempt a SET attempts = CASE a.subject WHEN $2 THEN 0 ELSE a.attempts - 1 END
  FROM held h WHERE a.window_no = $1 AND a.subject = h.subject"""


@dataclass(frozen=True)
class Attempt:
    """One attempt that was counted. `asked`: the password is checked. `wait_seconds` > 0: a wrong password must wait.

    `known`: it counts for its browser, which logged into this very account before, and not for the account.
    """

    window_no: int
    who: bytes
    known: bool
    address: bytes
    asked: bool
    wait_seconds: int


async def count_attempt(pool: asyncpg.Pool, username: str, device: str, network: str, now_ms: int) -> Attempt:
    """Count an attempt before the password is checked, so that concurrent attempts cannot exceed the limits.

    `device` names the browser if it logged into this very account before, otherwise it is "".
    """
    window_no = now_ms // WINDOW_MS
    key = await _key(pool, window_no)
    name = account_name(username)
    who = _subject(key, "device", f"{device}:{name}") if device else _subject(key, "account", name)
    place = _subject(key, "address", network)
    rows = await pool.fetch(_COUNT, window_no, [who, place])
    attempts = {row["subject"]: row["attempts"] for row in rows}
    beyond = attempts[who] > ACCOUNT_LIMIT or attempts[place] > ADDRESS_LIMIT
    wait = -(-((window_no + 1) * WINDOW_MS - now_ms) // 1000) if beyond else 0
    return Attempt(window_no, who, bool(device), place, attempts[who] <= ASKED_LIMIT, wait)


async def forgive(pool: asyncpg.Pool, attempt: Attempt) -> None:
    """The attempt succeeded: it counts for nobody, and the counter of a known browser starts anew.

    The address keeps its other counts; otherwise an attacker with an account could clear them. So does the account;
    otherwise a stranger who was told to wait, and suddenly is not, would learn that the account exists.
    """
    anew = attempt.who if attempt.known else None
    await pool.execute(_FORGIVE, attempt.window_no, anew, [attempt.who, attempt.address])


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete the windows that are over except the last one, in which another worker may be about to count."""
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
    return hmac.digest(key, f"{kind}:{text}".encode("utf-8", "surrogatepass"), "sha256")
