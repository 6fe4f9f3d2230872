"""Grants in a SQLite file, for a DiGA with many pairings on one host (the contract: ddr/client/tokens.py)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ddr.client.beside import beside
from ddr.client.tokens import FileTokens, Grant, from_text, to_text

WAIT_SECONDS = 30
T = TypeVar("T")


class SqliteFile:
    """A file of the store's own, opened for each piece of work: no lock is held while others write."""

    def __init__(self, file: Path, *tables: str) -> None:
        self.file = file
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        with self._open() as db:
            for table in tables:
                db.execute(table)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, run in one transaction outside the event loop."""
        return await beside(lambda: self._run(work))

    async def execute(self, statement: str, *values: Any) -> list[Any]:
        """The rows of one statement."""
        return await self.run(lambda db: db.execute(statement, values).fetchall())

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._open() as db:
            return work(db)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its beginning and is on the disk at its end."""
        db = sqlite3.connect(self.file, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        finally:
            db.close()


class SqliteTokens:
    """A PairingStore: a table of grants."""

    def __init__(self, file: Path) -> None:
        table = "CREATE TABLE IF NOT EXISTS grants (pairing_id TEXT PRIMARY KEY, content TEXT NOT NULL)"
        self._db = SqliteFile(file, table)
        self._locks = FileTokens(file.with_suffix(".locks"))

    async def load(self, pairing_id: str) -> Grant | None:
        rows = await self._db.execute("SELECT content FROM grants WHERE pairing_id = ?", pairing_id)
        return from_text(rows[0][0]) if rows else None

    async def save(self, grant: Grant) -> None:
        await self._db.execute("INSERT OR REPLACE INTO grants VALUES (?, ?)", grant.pairing_id, to_text(grant))

    async def forget(self, pairing_id: str) -> None:
        await self._db.execute("DELETE FROM grants WHERE pairing_id = ?", pairing_id)

    async def pairings(self) -> list[str]:
        return [row[0] for row in await self._db.execute("SELECT pairing_id FROM grants ORDER BY pairing_id")]

    def alone(self, pairing_id: str) -> AbstractAsyncContextManager[None]:
        """See TokenStore: a lock of the operating system, which ends with the process."""
        return self._locks.alone(pairing_id)
