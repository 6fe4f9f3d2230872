"""Sessions of patients at the browser: kept on the server, found by the hash of a random cookie."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from ddr.store.database.digest import sha256
from ddr.store.database.sweeping import delete_due

HOUR_MS = 3_600_000  # as in column seen_hour
LONGEST_MS = 12 * 3600 * 1000  # a session ends after this time even when it is used all the while


@dataclass(frozen=True)
class Session:
    """Who is logged in; `confirmed_ms` is when the patient last proved it again, within this session."""

    patient_id: UUID
    username: str
    confirmed_ms: int | None = None


def new_cookie() -> str:
    """A value for the session cookie: 256 random bits, base64url."""
    return secrets.token_urlsafe(32)


async def open_session(pool: asyncpg.Pool, session: Session, now_ms: int) -> str:
    """Log `session` in and return its new cookie."""
    cookie = new_cookie()
    await pool.execute(
        "INSERT INTO browser_session (cookie_sha256, patient_id, username, created_ms, seen_ms, confirmed_ms) "
        "VALUES ($1, $2, $3, $4, $4, $5)",
        sha256(cookie),
        session.patient_id,
        session.username,
        now_ms,
        session.confirmed_ms,
    )
    return cookie


async def load_session(pool: asyncpg.Pool, cookie: str, now_ms: int, idle_ms: int) -> Session | None:
    """The session of this cookie, or None when it is unknown, idle for `idle_ms`, or too old.

    None as well while the account is disabled. Counts as activity.
    """
    row = await pool.fetchrow(
        "UPDATE browser_session s SET seen_ms = $2 WHERE cookie_sha256 = $1 AND seen_ms > $3 AND created_ms > $4 "
        "AND NOT EXISTS (SELECT FROM patient p WHERE p.patient_id = s.patient_id AND p.disabled_ms IS NOT NULL) "
        "RETURNING patient_id, username, confirmed_ms",
        sha256(cookie),
        now_ms,
        now_ms - idle_ms,
        now_ms - LONGEST_MS,
    )
    return row and Session(**row)


async def close_session(pool: asyncpg.Pool, cookie: str) -> None:
    """Log out: the cookie is worth nothing from now on."""
    await pool.execute("DELETE FROM browser_session WHERE cookie_sha256 = $1", sha256(cookie))


async def sweep(pool: asyncpg.Pool, now_ms: int, idle_ms: int) -> None:
    """Delete the sessions that ended by themselves; one that is too old is not seen any more, either."""
    before_ms = now_ms - idle_ms
    await delete_due(pool, "browser_session", "seen_hour", before_ms // HOUR_MS + 1, "seen_ms <= $2", before_ms)
