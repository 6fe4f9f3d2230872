"""What a Watch remembers of each pairing: how far it has read, and when its next turn is.

A process leases a turn for a few seconds and renews the lease while it works. When the process dies, another one takes
the turn after the lease has run out, before all other turns.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ddr.client.pull import Cursor
from ddr.client.sqlite import SqliteFile


@dataclass(frozen=True)
class Turn:
    """A pairing whose turn it is. Times in seconds since 1970."""

    pairing_id: str
    cursor: Cursor
    due: float  # when it should begin
    failures: int  # consecutive failures before it
    whole: float  # when the last full search began
    interrupted: bool = False  # another process had it before and did not finish it


class Journal(Protocol):
    """All that a Watch stores. Each change is durable when the call returns."""

    async def pairings(self) -> list[str]:
        """The ids of all pairings."""

    async def add(self, pairing_id: str, due: float) -> None:
        """Add a new pairing; nothing changes for a known one."""

    async def remove(self, pairing_id: str) -> None:
        """Remove a pairing that has ended."""

    async def claim(self, now: float, until: float, most: int, *, interrupted: bool = False) -> list[Turn]:
        """Lease up to `most` due turns until `until`: interrupted ones first, then those waiting longest. With
        `interrupted`, only interrupted ones."""

    async def hold(self, pairing_ids: Collection[str], until: float) -> None:
        """Extend the leases of these turns until `until`; after that they count as interrupted. Settled turns stay as
        they are."""

    async def keep(self, pairing_id: str, cursor: Cursor, until: float) -> None:
        """Store that the changes before `cursor` have been taken, and extend the turn's lease until `until`."""

    async def settle(self, pairing_id: str, due: float, failures: int, whole: float) -> None:
        """End the turn; the next one begins at `due`."""

    async def hasten(self, now: float, interval: float) -> None:
        """Bring turns due later than two intervals from `now` forward by whole intervals: each is then due within one,
        and they stay as far apart as before."""

    async def next_due(self) -> float | None:
        """When the next turn is due."""

    async def cursor(self, pairing_id: str) -> Cursor | None:
        """How far the pairing has been read."""


TABLE = """CREATE TABLE IF NOT EXISTS watched (pairing_id TEXT PRIMARY KEY, cursor TEXT NOT NULL, due REAL NOT NULL,
failures INTEGER NOT NULL DEFAULT 0, whole REAL NOT NULL DEFAULT 0, lent INTEGER NOT NULL DEFAULT 0)"""
INDEX = "CREATE INDEX IF NOT EXISTS watched_due ON watched (due)"
DUE = """SELECT pairing_id, cursor, due, failures, whole, lent FROM watched WHERE due <= ? AND lent >= ?
ORDER BY lent DESC, due LIMIT ?"""
HASTEN = "UPDATE watched SET due = due - ?2 * CAST((due - ?1) / ?2 AS INTEGER) WHERE due > ?1 + 2 * ?2"
EMPTY = json.dumps(Cursor().to_json())


def cursor_of(text: str) -> Cursor:
    """The stored cursor of a pairing. One that cannot be read starts from the beginning, so that other pairings are
    still polled."""
    try:
        return Cursor.from_json(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return Cursor()


class SqliteJournal:
    """A Journal in a SQLite file; several processes of one host may share it."""

    def __init__(self, file: Path) -> None:
        self._db = SqliteFile(file, TABLE, INDEX)

    async def pairings(self) -> list[str]:
        return [row[0] for row in await self._db.execute("SELECT pairing_id FROM watched ORDER BY pairing_id")]

    async def add(self, pairing_id: str, due: float) -> None:
        statement = "INSERT OR IGNORE INTO watched (pairing_id, cursor, due) VALUES (?, ?, ?)"
        await self._db.execute(statement, pairing_id, EMPTY, due)

    async def remove(self, pairing_id: str) -> None:
        await self._db.execute("DELETE FROM watched WHERE pairing_id = ?", pairing_id)

    async def claim(self, now: float, until: float, most: int, *, interrupted: bool = False) -> list[Turn]:
        def work(db: sqlite3.Connection) -> list[Turn]:
            rows = db.execute(DUE, (now, int(interrupted), most)).fetchall()
            db.executemany(
                "UPDATE watched SET due = ?, lent = 1 WHERE pairing_id = ?", [(until, row[0]) for row in rows]
            )
            return [
                Turn(name, cursor_of(cursor), due, failures, whole, bool(lent))
                for name, cursor, due, failures, whole, lent in rows
            ]

        return await self._db.run(work)

    async def hold(self, pairing_ids: Collection[str], until: float) -> None:
        statement = "UPDATE watched SET due = ? WHERE pairing_id = ? AND lent"
        changes = [(until, one) for one in pairing_ids]
        await self._db.run(lambda db: db.executemany(statement, changes))

    async def keep(self, pairing_id: str, cursor: Cursor, until: float) -> None:
        statement = "UPDATE watched SET cursor = ?, due = ? WHERE pairing_id = ?"
        await self._db.execute(statement, json.dumps(cursor.to_json()), until, pairing_id)

    async def settle(self, pairing_id: str, due: float, failures: int, whole: float) -> None:
        statement = "UPDATE watched SET due = ?, failures = ?, whole = ?, lent = 0 WHERE pairing_id = ?"
        await self._db.execute(statement, due, failures, whole, pairing_id)

    async def hasten(self, now: float, interval: float) -> None:
        await self._db.execute(HASTEN, now, interval)

    async def next_due(self) -> float | None:
        rows = await self._db.execute("SELECT min(due) FROM watched")
        return None if rows[0][0] is None else float(rows[0][0])

    async def cursor(self, pairing_id: str) -> Cursor | None:
        rows = await self._db.execute("SELECT cursor FROM watched WHERE pairing_id = ?", pairing_id)
        return cursor_of(rows[0][0]) if rows else None
