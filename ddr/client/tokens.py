"""Where a DiGA keeps its grants. The contract: of all processes one at a time may refresh a grant, and the new refresh
token is durable before anybody uses the access token that came with it.

A recorder rotates refresh tokens: the old one is used up by the answer. When a process dies between the answer and
`save`, the old token is all that is left; a recorder answers it with the same successor for some seconds (this one: the
setting refresh_repeat_seconds), so that `Recorder` after a restart goes on. After that the pairing is lost, which no
client can help: keep the time between answer and `save` as short as it is here.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Grant:
    """The tokens of a pairing. `expires_at`: when the access token ends, seconds since 1970."""

    pairing_id: str
    scope: str
    refresh_token: str
    access_token: str
    expires_at: float


class TokenStore(Protocol):
    """See the module's text for what implementations have to hold."""

    async def load(self, pairing_id: str) -> Grant | None:
        """The grant as last saved, None when there is none."""

    async def save(self, grant: Grant) -> None:
        """Keep `grant` in the place of the former one; it is durable when this returns."""

    async def forget(self, pairing_id: str) -> None:
        """The pairing has ended."""

    def alone(self, pairing_id: str) -> AbstractAsyncContextManager[None]:
        """A block in which no other task and no other process refreshes this grant."""


class FileTokens:
    """One file per pairing in a folder that only its owner may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def load(self, pairing_id: str) -> Grant | None:
        """See TokenStore."""
        try:
            return Grant(**json.loads(self._file(pairing_id).read_text()))
        except FileNotFoundError:
            return None

    async def save(self, grant: Grant) -> None:
        """See TokenStore: written beside, synced, renamed, and the folder synced."""
        file = self._file(grant.pairing_id)
        draft = file.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(asdict(grant), out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    async def forget(self, pairing_id: str) -> None:
        """See TokenStore."""
        self._file(pairing_id).unlink(missing_ok=True)

    @asynccontextmanager
    async def alone(self, pairing_id: str) -> AsyncIterator[None]:
        """See TokenStore: a lock on a file beside, which the system drops when the process dies."""
        descriptor = os.open(self._file(pairing_id).with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def _file(self, pairing_id: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", pairing_id):
            raise ValueError("no pairing id")
        return self._folder / f"{pairing_id}.json"


class SqliteTokens:
    """A table in a SQLite file, for a DiGA with many pairings on one host."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS grants (pairing_id TEXT PRIMARY KEY, content TEXT NOT NULL)")
        self._locks = FileTokens(file.with_suffix(".locks"))

    async def load(self, pairing_id: str) -> Grant | None:
        """See TokenStore."""
        with self._open() as db:
            row = db.execute("SELECT content FROM grants WHERE pairing_id = ?", (pairing_id,)).fetchone()
        return Grant(**json.loads(row[0])) if row else None

    async def save(self, grant: Grant) -> None:
        """See TokenStore."""
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO grants VALUES (?, ?)", (grant.pairing_id, json.dumps(asdict(grant))))

    async def forget(self, pairing_id: str) -> None:
        """See TokenStore."""
        with self._open() as db:
            db.execute("DELETE FROM grants WHERE pairing_id = ?", (pairing_id,))

    def alone(self, pairing_id: str) -> AbstractAsyncContextManager[None]:
        """See TokenStore."""
        return self._locks.alone(pairing_id)

    async def pairings(self) -> list[str]:
        """All pairing ids."""
        with self._open() as db:
            return [row[0] for row in db.execute("SELECT pairing_id FROM grants ORDER BY pairing_id")]

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, timeout=30)
        db.execute("PRAGMA synchronous = FULL")
        return db
