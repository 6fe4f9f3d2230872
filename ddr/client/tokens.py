"""Where a DiGA keeps its grants. Stores must promise that only one process at a time refreshes a grant, and that the
new refresh token is durable before anybody uses the access token that came with it.

A recorder rotates refresh tokens: its response uses the old one up. When a process dies between the response and
`save`, only the old token is left. A recorder answers it with the same successor for some seconds (this recorder: the
setting refresh_repeat_seconds), so that the next refresh succeeds. The lock of `alone` ends with the process, so that
another process can be in time, as can a service that is restarted at once. After these seconds the pairing is lost, and
no client can help that: keep the time between response and `save` as short as it is here.
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

PAIRING_ID = re.compile(r"[!-~]{1,128}")  # HDDT does not define its form: it may be base64, or a URN
BROKEN = "the stored tokens of this pairing cannot be read"
LOOK_SECONDS = 0.05  # how often a process checks whether a lock is free


@dataclass(frozen=True)
class Grant:
    """The tokens of a pairing. `expires_at`: when the access token expires, seconds since 1970. `ended`: the recorder
    has said that the grant is over (invalid_grant); it is never refreshed again."""

    pairing_id: str
    scope: str
    refresh_token: str = field(repr=False)
    access_token: str = field(repr=False)
    expires_at: float
    ended: bool = False


class TokenStore(Protocol):
    """Implementations must keep the promises in the module's docstring."""

    async def load(self, pairing_id: str) -> Grant | None:
        """The grant as last saved, None if there is none."""

    async def save(self, grant: Grant) -> None:
        """Store `grant` in place of the former one; it is durable when this returns."""

    async def forget(self, pairing_id: str) -> None:
        """Remove the grant of a pairing that has ended."""

    def alone(self, pairing_id: str) -> AbstractAsyncContextManager[None]:
        """A block in which no other task or process refreshes this grant."""


class PairingStore(TokenStore, Protocol):
    """A store that can also list its pairings."""

    async def pairings(self) -> list[str]:
        """All pairing ids."""


def to_text(grant: Grant) -> str:
    """A grant as JSON."""
    return json.dumps(asdict(grant))


def from_text(text: str) -> Grant:
    """The inverse of `to_text`. Raises BrokenGrant for anything else; members unknown to this version are ignored."""
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
        """See TokenStore: written to a draft, synced, renamed, and the folder synced."""
        await beside(lambda: self._save(grant))

    async def forget(self, pairing_id: str) -> None:
        """See TokenStore. A draft left by a crash is removed, too: it is a secret."""
        file = self._file(pairing_id)
        for one in (file, file.with_suffix(".new")):
            one.unlink(missing_ok=True)

    async def pairings(self) -> list[str]:
        """See PairingStore. Raises OSError: for a folder that cannot be read `glob` would return nothing."""
        names = (file.name for file in self._folder.iterdir())  # `..json` has no suffix from Python 3.14 on
        return sorted(unquote(name.removesuffix(".json")) for name in names if name.endswith(".json"))

    @asynccontextmanager
    async def alone(self, pairing_id: str) -> AsyncIterator[None]:
        """See TokenStore: a lock on a second file, which the system releases when the process dies. The file is removed
        with the lock."""
        beside = self._file(pairing_id).with_suffix(".lock")
        while (lock := _locked(beside)) is None:  # noqa: ASYNC110 - another process cannot notify us
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
            raise ValueError("not a Pairing ID")
        return self._folder / f"{quote(pairing_id, safe='')}.json"


def _locked(beside: Path) -> int | None:
    """The open file with the lock. None while another process has it, or when the file is no longer the one that others
    see because its owner has removed it meanwhile."""
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
