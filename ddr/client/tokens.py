"""Where a DiGA keeps its grants. The contract: of all processes one at a time may refresh a grant, and the new refresh
token is durable before anybody uses the access token that came with it.

A recorder rotates refresh tokens: the old one is used up by the answer. When a process dies between the answer and
`save`, the old token is all that is left; a recorder answers it with the same successor for some seconds (this one: the
setting refresh_repeat_seconds), so that whoever refreshes next goes on. The lock of `alone` ends with the process, so
that another one can be in time; a service that is restarted at once is, too. After that the pairing is lost, which no
client can help: keep the time between answer and `save` as short as it is here.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from ddr.appending import keep_names
from ddr.client.beside import beside
from ddr.client.errors import BrokenGrant

PAIRING_ID = re.compile(r"[!-~]{1,128}")  # HDDT gives it no form: it may be base64, or a URN
BROKEN = "the stored tokens of this pairing cannot be read"
LOOK_SECONDS = 0.05  # how often it is looked whether a lock is free


@dataclass(frozen=True)
class Grant:
    """The tokens of a pairing. `expires_at`: when the access token ends, seconds since 1970. `ended`: the recorder has
    said that the grant is over (invalid_grant); it is never asked for again."""

    pairing_id: str
    scope: str
    refresh_token: str = field(repr=False)
    access_token: str = field(repr=False)
    expires_at: float
    ended: bool = False


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


class PairingStore(TokenStore, Protocol):
    """A store that also tells which pairings there are."""

    async def pairings(self) -> list[str]:
        """All pairing ids."""


def to_text(grant: Grant) -> str:
    """A grant as JSON."""
    return json.dumps(asdict(grant))


def from_text(text: str) -> Grant:
    """What `to_text` gave. Raises BrokenGrant for anything else; members that this version does not know are left."""
    try:
        content = json.loads(text)
        found = Grant(**{field.name: content[field.name] for field in fields(Grant) if field.name in content})
    except (ValueError, TypeError, RecursionError):
        raise BrokenGrant(BROKEN) from None
    texts = (found.pairing_id, found.scope, found.refresh_token, found.access_token)
    if not isinstance(found.expires_at, int | float) or not all(isinstance(one, str) for one in texts):
        raise BrokenGrant(BROKEN)
    return found


class FileTokens:
    """A PairingStore: one file per pairing in a folder that only its owner may read; for one host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def load(self, pairing_id: str) -> Grant | None:
        try:
            return from_text(await asyncio.to_thread(self._file(pairing_id).read_text, "utf-8"))
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise BrokenGrant(BROKEN) from None

    async def save(self, grant: Grant) -> None:
        """See TokenStore: written beside, synced, renamed, and the folder synced."""
        await beside(lambda: self._save(grant))

    async def forget(self, pairing_id: str) -> None:
        """See TokenStore. A draft that a crash has left goes, too: it is a secret."""
        file = self._file(pairing_id)
        for one in (file, file.with_suffix(".new")):
            one.unlink(missing_ok=True)

    async def pairings(self) -> list[str]:
        """See PairingStore. Raises OSError: of a folder that cannot be read `glob` would say that it is empty."""
        return sorted(unquote(file.stem) for file in self._folder.iterdir() if file.suffix == ".json")

    @asynccontextmanager
    async def alone(self, pairing_id: str) -> AsyncIterator[None]:
        """See TokenStore: a lock on a file beside, which the system drops when the process dies. The file goes with the
        lock."""
        beside = self._file(pairing_id).with_suffix(".lock")
        while (lock := _locked(beside)) is None:  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(LOOK_SECONDS)
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)
            os.close(lock)

    def _save(self, grant: Grant) -> None:
        file = self._file(grant.pairing_id)
        draft = file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write(to_text(grant))
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
        keep_names(self._folder)

    def _file(self, pairing_id: str) -> Path:
        if not PAIRING_ID.fullmatch(pairing_id):
            raise ValueError("no pairing id")
        return self._folder / f"{quote(pairing_id, safe='')}.json"


def _locked(beside: Path) -> int | None:
    """The open file with the lock; None while somebody else has it, or when it is not the file that others see: its
    owner has removed it meanwhile."""
    lock, own = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600), False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        own = os.path.samestat(os.fstat(lock), beside.stat())
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        if not own:
            os.close(lock)
    return lock if own else None
