"""What operators said of outages that never were: who, why and when. Nothing of it is ever changed or deleted."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import asyncpg

from ddr.store.database.locks import LOCK, Lock

_STANDING = """
    SELECT name, retracted, retracted_by, reason, at_ms FROM outage_retraction r
     WHERE retracted AND NOT EXISTS (
           SELECT FROM outage_retraction later WHERE later.name = r.name AND later.retraction > r.retraction)"""

_NOTE = """
    INSERT INTO outage_retraction (name, retracted, retracted_by, reason, at_ms)
    SELECT $1, $2, $3, $4, $5
     WHERE $2 IS DISTINCT FROM coalesce(
           (SELECT retracted FROM outage_retraction WHERE name = $1 ORDER BY retraction DESC LIMIT 1), false)
    RETURNING true"""


@dataclass(frozen=True)
class Retraction:
    """A notice or an event, by name, does not count, or counts again."""

    name: str
    retracted: bool
    by: str
    reason: str
    at_ms: int


async def note(pool: asyncpg.Pool, retraction: Retraction) -> bool:
    """Write it down; False when the newest word about this name says the same."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(LOCK, int(Lock.OUTAGES))
        return bool(await connection.fetchval(_NOTE, *astuple(retraction)))


async def standing(pool: asyncpg.Pool) -> dict[str, Retraction]:
    """What does not count at present, by its name."""
    return {row["name"]: Retraction(*row) for row in await pool.fetch(_STANDING)}
