"""Logins that the OpenID provider ended: their sessions end with the logout token, and each token counts once.

A login may be in progress while its end arrives. So a token is stored before sessions are looked for, and a session
before tokens are looked for: whichever comes second sees the other, in whatever worker.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from ddr.durations import HOUR_MS
from ddr.store.database.digest import sha256
from ddr.store.database.sweeping import delete_due
from ddr.store.patients import identities

KEEP_MS = HOUR_MS  # longer than a login takes

# Sessions of the user whose session at the provider is not known end with any session: those from before it was stored,
# or of a provider that names none.
_OF_SUBJECT = """
DELETE FROM browser_session
 WHERE coalesce(login_id, patient_id) = $1
   AND ($2::bytea IS NULL OR provider_sid_sha256 IS NULL OR provider_sid_sha256 = $2)
RETURNING cookie_sha256"""
_OF_SESSION = "DELETE FROM browser_session WHERE provider_sid_sha256 = $1 RETURNING cookie_sha256"


@dataclass(frozen=True)
class Logout:
    """What a logout token says: the token itself, whose login ended, and in which session; one of these two at least.

    Without `sid` all sessions of the subject are meant. It was issued at `issued_ms`, and is valid until `expires_ms`.
    """

    issuer: str
    token_id: str
    subject: str | None
    sid: str | None
    issued_ms: int
    expires_ms: int


def sid_digest(issuer: str, sid: str | None) -> bytes | None:
    """How a session at the provider is stored: 32 bytes, None for None."""
    return _digest(issuer, "sid", sid)


async def carry_out(pool: asyncpg.Pool, logout: Logout, now_ms: int) -> int | None:
    """End the sessions to which the token refers. Returns how many there were; None when it was carried out before.

    A token whose sessions could not be ended because the database failed may be sent again.
    """
    token, sid = _digest(logout.issuer, "jti", logout.token_id), sid_digest(logout.issuer, logout.sid)
    done_ms = await pool.fetchval(
        """
        INSERT INTO provider_logout (token_sha256, subject_sha256, sid_sha256, issued_ms, expires_ms)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (token_sha256) DO UPDATE SET expires_ms = greatest(provider_logout.expires_ms, excluded.expires_ms)
        RETURNING done_ms
        """,
        token,
        _digest(logout.issuer, "sub", logout.subject),
        sid,
        logout.issued_ms,
        max(logout.expires_ms, now_ms + KEEP_MS),
    )
    if done_ms is not None:
        return None
    ended = await _end_sessions(pool, logout, sid)
    await pool.execute("UPDATE provider_logout SET done_ms = $2 WHERE token_sha256 = $1", token, now_ms)
    return ended


async def _end_sessions(pool: asyncpg.Pool, logout: Logout, sid: bytes | None) -> int:
    if logout.subject is None:
        return len(await pool.fetch(_OF_SESSION, sid))
    login_id = await identities.find(pool, logout.issuer, logout.subject)
    return 0 if login_id is None else len(await pool.fetch(_OF_SUBJECT, login_id, sid))


async def ended(pool: asyncpg.Pool, issuer: str, subject: str, sid: str | None, issued_ms: int) -> bool:
    """True when the provider has ended the login of this ID token, which was issued at `issued_ms`.

    A login whose session is not known ends with any session of the user, as sessions do.
    """
    found: bool = await pool.fetchval(
        """
        SELECT EXISTS (SELECT FROM provider_logout WHERE coalesce(sid_sha256, subject_sha256) = $1)
            OR EXISTS (SELECT FROM provider_logout
                        WHERE coalesce(sid_sha256, subject_sha256) = $2 AND issued_ms >= $3)
            OR ($1::bytea IS NULL AND EXISTS (SELECT FROM provider_logout
                                               WHERE subject_sha256 = $2 AND issued_ms >= $3))
        """,
        sid_digest(issuer, sid),
        _digest(issuer, "sub", subject),
        issued_ms,
    )
    return found


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete the tokens that are no longer valid."""
    await delete_due(pool, "provider_logout", "expires_ms", now_ms)


def _digest(issuer: str, kind: str, text: str | None) -> bytes | None:
    return None if text is None else sha256(f"{kind}\0{issuer}\0{text}")
