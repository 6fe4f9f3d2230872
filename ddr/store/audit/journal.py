"""The journal of ends: what was withdrawn, ended or deleted, in files outside the database.

A database that is restored from a backup has forgotten what ended since the backup; the journal has not. An end is
written here, with fsync, before its transaction commits. A line too many ends what somebody tried to end; a line too
few would revive what a patient has withdrawn. No line contains a name, a token or a value.

There is one file per host and month in `journal_dir`, with one JSON object per line. Several processes append to a
file.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ddr.appending import append, keep_names
from ddr.drafts import naming
from ddr.reasons import in_words
from ddr.store.database.errors import StoreError

PREFIX, SUFFIX = "ends-", ".jsonl"
ROOM = 4096  # bytes that the disk must still be able to take
PATIENCE_SECONDS = 5.0  # for a disk to take a line: meanwhile the transaction of an end is open
_BEGIN = re.compile(rb'(?=\{"event":)')  # of an entry as `note` writes it; in a JSON text the quotes are escaped

_NOTHING: Mapping[str, int] = {}
_THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="journal")  # its own: a hanging disk keeps them

log = logging.getLogger(__name__)

Entry = Mapping[str, Any]


class Journal:
    """The journal of this process; it writes nothing outside of `kept_in`."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.unwritten = ""  # why an end could not be written; of the last such one since `kept_in`
        self._hanging: asyncio.Future[None] | None = None  # a line that the disk has not taken in time

    @contextmanager
    def kept_in(self, folder: Path | None) -> Iterator[None]:
        """Keep ends in `folder` during the block; nowhere if None."""
        before, self.folder, self.unwritten, self._hanging = self.folder, folder, "", None
        try:
            yield
        finally:
            self.folder = before

    async def note(self, entry: Entry) -> None:
        """Write one end with its time `at_ms`; returns when it is on the disk. `entry` begins with its `event`.

        A disk that fails or hangs, or a lack of threads, does not stop a patient's withdrawal; it is logged. A line
        that a hanging disk takes in the end is written all the same.
        """
        folder = self.folder
        if folder is None:
            return
        try:
            line = orjson.dumps(entry) + b"\n"
            loop = asyncio.get_running_loop()
            await self._in_time(loop.run_in_executor(_THREADS, _append, folder, entry["at_ms"], line))
        except (OSError, RuntimeError) as error:
            self.unwritten = in_words(error)
            log.error("journal.not_written", extra={"reason": self.unwritten, "kind": entry["event"]})

    async def _in_time(self, writing: asyncio.Future[None]) -> None:
        """Wait for it, but not for long, and not at all while the disk is known to hang. Raises OSError."""
        hangs = self._hanging is not None and not self._hanging.done()
        await asyncio.wait([writing], timeout=0 if hangs else PATIENCE_SECONDS)
        if writing.done():
            return writing.result()
        self._hanging = self._hanging if hangs else writing
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody awaits it any more
        raise TimeoutError(f"nothing could be written within {PATIENCE_SECONDS:.0f} s")


JOURNAL = Journal()


def check(folder: Path) -> None:
    """Raises StoreError when nothing can be written: better no start than withdrawals that a restore undoes."""
    try:
        _append(folder, time.time_ns() // 1_000_000, b"")
        with tempfile.TemporaryFile(dir=folder) as file:  # a full disk accepts names, but no bytes
            append(file.fileno(), bytes(ROOM))
    except OSError as error:
        raise StoreError(f"journal_dir {folder}: {error.strerror or error}") from None


def entries(folder: Path, known: Mapping[str, int] = _NOTHING) -> Iterator[Entry]:
    """The entries of all files beyond what is `known` of them (as from `held`), by time.

    A line that a crash cut off is skipped: nothing ended. What another process wrote after it on the same line counts.
    """
    rest = (_beyond(path, known.get(_identity(path), 0)) for path in files(folder))
    found = [entry for text in rest for line in text.splitlines() for entry in _on(line) if _is_entry(entry)]
    yield from sorted(found, key=lambda entry: entry["at_ms"])


def unreadable(folder: Path) -> dict[Path, int]:
    """For each file with lines that contain something that is no entry: how many."""
    found = {path: [_on(line) for line in _content(path).splitlines() if line] for path in files(folder)}
    counts = {path: sum(not all(map(_is_entry, line)) for line in lines) for path, lines in found.items()}
    return {path: count for path, count in counts.items() if count}


def held(folder: Path) -> dict[str, int]:
    """How many bytes each file holds, by its name and a digest of its first line, because hosts may share a name."""
    return {_identity(path): path.stat().st_size for path in files(folder)}


def _identity(path: Path) -> str:
    with naming(path), path.open("rb") as file:
        return f"{path.name}:{hashlib.sha256(file.readline()).hexdigest()[:16]}"


def _beyond(path: Path, size: int) -> bytes:
    """What was written after the file had this size, from the start of a line; all of a file that is smaller now."""
    content = _content(path)
    return content if size > len(content) else content[content.rfind(b"\n", 0, size) + 1 :]


def _content(path: Path) -> bytes:
    with naming(path):
        return path.read_bytes()


def _on(line: bytes) -> list[Any]:
    """The entries on a line; of a line that is not as it was written, all that can be read."""
    whole = _read(line)
    return [_read(piece) for piece in _BEGIN.split(line)] if whole is None else [whole]


def _read(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("at_ms"), int) and isinstance(entry.get("event"), str)


def files(folder: Path) -> list[Path]:
    """The files of the journal, of all hosts that write to this folder.

    Raises OSError where they may not be listed; glob would find none.
    """
    try:
        found = list(folder.iterdir())
    except FileNotFoundError:
        return []
    return sorted(path for path in found if path.name.startswith(PREFIX) and path.name.endswith(SUFFIX))


def forget(folder: Path, before_ms: int) -> int:
    """Delete the files of months that ended before `before_ms`. Returns how many."""
    last = month(before_ms)
    old = [path for path in files(folder) if path.stem[-7:] < last]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _append(folder: Path, at_ms: int, line: bytes) -> None:
    """Writes once with O_APPEND, so that lines of several processes do not mix."""
    host = "".join(char if char.isalnum() else "-" for char in socket.gethostname()) or "host"
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _give(folder)
    path = folder / f"{PREFIX}{host}-{month(at_ms)}{SUFFIX}"
    fresh = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if fresh:
            _give(path)
        append(descriptor, line)
    finally:
        os.close(descriptor)
    if fresh:
        keep_names(folder)


def _give(path: Path) -> None:
    """Give the file to the owner of the folder when we are root, so that the recorder can write a file that a command
    typed as root has created."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def month(at_ms: int) -> str:
    """The month of an instant as it ends a file's name: `2026-11`."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m")
