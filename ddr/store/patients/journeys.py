"""Browsers that were sent to the OpenID provider and are expected back: each may return once, within minutes.

What a browser needs on its return is sealed in the `state` that the provider gives back (ddr.identity.journey), so
nothing is stored for a browser that only sets out.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from ddr.durations import MINUTE_MS
from ddr.store.database.digest import sha256
from ddr.store.database.sweeping import delete_due

LONGEST_MS = 15 * MINUTE_MS  # long enough to recover an account at the provider


@dataclass(frozen=True)
class Journey:
    """What a browser takes along when it sets out. `confirms`: the patient must log in again, whoever is remembered."""

    state: str
    nonce: str
    verifier: str
    request_uri: str
    confirms: bool
    started_ms: int


async def is_used(pool: asyncpg.Pool, journey: Journey) -> bool:
    """Whether somebody has logged in with this journey."""
    found: bool = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM login_journey WHERE state_sha256 = $1)", sha256(journey.state)
    )
    return found


async def use_up(pool: asyncpg.Pool, journey: Journey) -> bool:
    """Use this journey for a login for which the provider has issued a token. False when it was already used."""
    status: str = await pool.execute(
        """
        INSERT INTO login_journey (state_sha256, cookie_sha256, nonce, verifier, request_uri, confirms, started_ms)
        VALUES ($1, '', '', '', '', false, $2) ON CONFLICT DO NOTHING
        """,
        sha256(journey.state),
        journey.started_ms,
    )
    return status == "INSERT 0 1"


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete the journeys that are too old to be used."""
    await delete_due(pool, "login_journey", "started_ms", now_ms - LONGEST_MS + 1)
