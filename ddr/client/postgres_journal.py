"""A Watch's journal in PostgreSQL, for pollers on several hosts (the contract: ddr/client/journal.py)."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from ddr.client.journal import EMPTY, Turn, cursor_of
from ddr.client.postgres import Pool
from ddr.client.pull import Cursor

TABLE = """CREATE TABLE IF NOT EXISTS ddr_client_watched (pairing_id text PRIMARY KEY, cursor text NOT NULL,
due double precision NOT NULL, failures integer NOT NULL DEFAULT 0, whole double precision NOT NULL DEFAULT 0,
lent boolean NOT NULL DEFAULT false)"""
INDEX = "CREATE INDEX IF NOT EXISTS ddr_client_watched_due ON ddr_client_watched (due)"
# Rows that another process is claiming are left to it.
CLAIM = """WITH mine AS (SELECT pairing_id, cursor, due, failures, whole, lent FROM ddr_client_watched WHERE due <= $1
AND (lent OR NOT $4) ORDER BY lent DESC, due LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE ddr_client_watched watched SET due = $2, lent = true FROM mine WHERE watched.pairing_id = mine.pairing_id
RETURNING mine.*"""

HASTEN = """UPDATE ddr_client_watched SET due = due - $2::float8 * trunc((due - $1::float8) / $2::float8)
WHERE due > $1::float8 + 2 * $2::float8"""


class PostgresJournal:
    """A Journal in a database of the DiGA; `pool` is asyncpg's. The clocks of the hosts should agree to a second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def prepare(self) -> None:
        """Make the table, once."""
        await self._fetch(TABLE)
        await self._fetch(INDEX)

    async def pairings(self) -> list[str]:
        return [row[0] for row in await self._fetch("SELECT pairing_id FROM ddr_client_watched ORDER BY pairing_id")]

    async def add(self, pairing_id: str, due: float) -> None:
        statement = (
            "INSERT INTO ddr_client_watched (pairing_id, cursor, due) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        )
        await self._fetch(statement, pairing_id, EMPTY, due)

    async def remove(self, pairing_id: str) -> None:
        await self._fetch("DELETE FROM ddr_client_watched WHERE pairing_id = $1", pairing_id)

    async def claim(self, now: float, until: float, most: int, *, interrupted: bool = False) -> list[Turn]:
        rows = await self._fetch(CLAIM, now, until, most, interrupted)
        turns = [
            Turn(name, cursor_of(cursor), due, failures, whole, lent)
            for name, cursor, due, failures, whole, lent in rows
        ]
        return sorted(turns, key=lambda turn: (not turn.interrupted, turn.due))

    async def hold(self, pairing_ids: Collection[str], until: float) -> None:
        statement = "UPDATE ddr_client_watched SET due = $2 WHERE pairing_id = ANY($1::text[]) AND lent"
        await self._fetch(statement, sorted(pairing_ids), until)

    async def keep(self, pairing_id: str, cursor: Cursor, until: float) -> None:
        statement = "UPDATE ddr_client_watched SET cursor = $2, due = $3 WHERE pairing_id = $1"
        await self._fetch(statement, pairing_id, json.dumps(cursor.to_json()), until)

    async def settle(self, pairing_id: str, due: float, failures: int, whole: float) -> None:
        statement = """UPDATE ddr_client_watched SET due = $2, failures = $3, whole = $4, lent = false
            WHERE pairing_id = $1"""
        await self._fetch(statement, pairing_id, due, failures, whole)

    async def hasten(self, now: float, interval: float) -> None:
        await self._fetch(HASTEN, now, interval)

    async def next_due(self) -> float | None:
        ((found,),) = await self._fetch("SELECT min(due) FROM ddr_client_watched")
        return None if found is None else float(found)

    async def cursor(self, pairing_id: str) -> Cursor | None:
        rows = await self._fetch("SELECT cursor FROM ddr_client_watched WHERE pairing_id = $1", pairing_id)
        return cursor_of(rows[0][0]) if rows else None

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        async with self._pool.acquire() as connection:
            rows: list[Any] = await connection.fetch(statement, *values)
            return rows
