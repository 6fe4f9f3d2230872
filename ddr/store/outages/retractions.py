"""What operators said about outages that did not happen: who, why and when. It is never changed or deleted."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import NamedTuple

import asyncpg

from ddr.store.database.locks import LOCK, Lock

_STANDING = """
    SELECT name, retracted, retracted_by, reason, at_ms FROM outage_retraction r
     WHERE retracted AND NOT EXISTS (
           SELECT FROM outage_retraction later WHERE later.name = r.name AND later.retraction > r.retraction)"""

_NEWEST = """
    SELECT DISTINCT ON (name) name, retracted, max(at_ms) OVER about AS latest_ms, count(*) OVER about AS times
      FROM outage_retraction WINDOW about AS (PARTITION BY name) ORDER BY name, retraction DESC"""

_NOTE = """
    INSERT INTO outage_retraction (name, retracted, retracted_by, reason, at_ms)
    SELECT $1, $2, $3, $4, $5
     WHERE $2 IS DISTINCT FROM coalesce(
           (SELECT retracted FROM outage_retraction WHERE name = $1 ORDER BY retraction DESC LIMIT 1), false)
    RETURNING true"""


@dataclass(frozen=True)
class Retraction:
    """States that a notice or an event, by name, does not count, or counts again."""

    name: str
    retracted: bool
    by: str
    reason: str
    at_ms: int


class LastWord(NamedTuple):
    """The newest retraction about a name: that it does not count, or counts again. `latest_ms` is the latest instant of
    all `times` retractions about it, because operators' machines have clocks of their own."""

    retracted: bool
    latest_ms: int
    times: int

    def told_ms(self, changed_ms: int) -> int:
        """The time to report for a change at `changed_ms`: later with each retraction, as readers ignore older ones."""
        return max(self.latest_ms, changed_ms) + self.times


async def note(pool: asyncpg.Pool, retraction: Retraction) -> bool:
    """Store it; False when the newest one about this name says the same."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(LOCK, Lock.OUTAGES)
        return bool(await connection.fetchval(_NOTE, *astuple(retraction)))


async def standing(pool: asyncpg.Pool) -> dict[str, Retraction]:
    """What does not count at present, by its name."""
    return {row["name"]: Retraction(*row) for row in await pool.fetch(_STANDING)}


async def newest(pool: asyncpg.Pool) -> dict[str, LastWord]:
    """For each name with retractions, the newest one."""
    return {name: LastWord(*word) for name, *word in await pool.fetch(_NEWEST)}
