"""Browsers that were sent to the OpenID provider and are expected back: each may return once, within minutes."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from ddr.store.database.digest import sha256
from ddr.store.database.sweeping import delete_due

LONGEST_MS = 15 * 60 * 1000  # long enough to recover an account at the provider


@dataclass(frozen=True)
class Journey:
    """What a browser that sets out takes along. `confirms`: the patient has to log in again, whoever is remembered."""

    state: str
    nonce: str
    verifier: str
    request_uri: str
    confirms: bool
    started_ms: int


async def begin(pool: asyncpg.Pool, cookie: str, journey: Journey) -> None:
    """Keep a journey until its browser, known by the cookie, comes back from the login."""
    await pool.execute(
        """
        INSERT INTO login_journey
            (state_sha256, cookie_sha256, nonce, verifier, request_uri, confirms, started_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        sha256(journey.state),
        sha256(cookie),
        journey.nonce,
        journey.verifier,
        journey.request_uri,
        journey.confirms,
        journey.started_ms,
    )


async def end(pool: asyncpg.Pool, cookie: str, state: str, now_ms: int) -> Journey | None:
    """The journey with this state, used up; None when it is unknown, too old, or of another browser.

    No browser is expected any more then. What it was for stays known: the answer may be lost, or asked for twice.
    """
    row = await pool.fetchrow(
        """
        UPDATE login_journey SET cookie_sha256 = '' WHERE state_sha256 = $1 AND cookie_sha256 = $2 AND started_ms > $3
        RETURNING nonce, verifier, request_uri, confirms, started_ms
        """,
        sha256(state),
        sha256(cookie),
        now_ms - LONGEST_MS,
    )
    return row and Journey(state, **row)


async def request_behind(pool: asyncpg.Pool, state: str, now_ms: int) -> str:
    """The request_uri of the journey with this state, used up or of another browser; "" when there is none.

    A browser has another cookie when it comes back if somebody has logged in or out in another tab.
    """
    found: str | None = await pool.fetchval(
        "SELECT request_uri FROM login_journey WHERE state_sha256 = $1 AND started_ms > $2",
        sha256(state),
        now_ms - LONGEST_MS,
    )
    return found or ""


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Forget the browsers that did not return."""
    await delete_due(pool, "login_journey", "started_ms", now_ms - LONGEST_MS + 1)
