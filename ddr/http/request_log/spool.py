"""Where records of the request log go while the database is away: files on this host, with each line synced at once.

A file belongs to the process that holds its lock; files of dead processes are taken over by whoever looks first.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import orjson

from ddr.appending import append, keep_names
from ddr.store.audit.request_log import Batch

SUFFIX = ".spool"


class Spool:
    """The spool of one worker in `folder`; called in threads."""

    def __init__(self, folder: Path, run: UUID) -> None:
        self._folder, self._run = folder, run
        self._lock = threading.Lock()
        self._files = 0
        self._descriptor: int | None = None

    def append(self, batch: Batch) -> None:
        """Append a batch; returns when it is on the disk. Raises OSError."""
        content = orjson.dumps([str(batch.run), batch.batch_no, batch.records.decode()]) + b"\n"
        with self._lock:
            if self._descriptor is None:
                self._descriptor = self._open()
            try:
                append(self._descriptor, content)
            except OSError:
                self._end()  # nothing may follow an incomplete line, or in a file that the disk has lost
                raise

    def waiting(self) -> list[Path]:
        """Files with records, of this worker and of others; new records go to a new file."""
        with self._lock:
            self._end()
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    def _end(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files += 1
        path = self._folder / f"{self._run}-{self._files}"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            path.rename(path.with_suffix(SUFFIX))  # not before the lock: another one would take it over, and remove it
            keep_names(self._folder)
        except OSError:
            os.close(descriptor)  # else each row of an outage would leak one, and lock its file
            path.unlink(missing_ok=True)
            raise
        return descriptor


def in_folder(folder: Path) -> tuple[int, float | None]:
    """Bytes waiting in the files of all processes of this host, and when the oldest file was last written to.

    In seconds since 1970; None: there is no file.
    """
    found = [path.stat() for path in folder.glob(f"*{SUFFIX}")]
    return sum(one.st_size for one in found), min((one.st_mtime for one in found), default=None)


class Content(NamedTuple):
    """The batches in a file, and how many of its lines a disk has damaged, although their requests were answered."""

    batches: list[Batch]
    damaged: int


@contextmanager
def taken(path: Path) -> Iterator[Content | None]:
    """The content of a file while nobody else has it; None when somebody has it, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        yield _alone_with(descriptor, path)
    finally:
        os.close(descriptor)


def _alone_with(descriptor: int, path: Path) -> Content | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _read(path.read_bytes())
    except (BlockingIOError, FileNotFoundError):  # whoever had it may have stored and deleted it since it was opened
        return None


def _read(content: bytes) -> Content:
    """A last line that a crash cut off was never answered. A damaged line delays no other."""
    lines = content.split(b"\n")[:-1]
    batches = [batch for line in lines if (batch := _batch(line)) is not None]
    return Content(batches, len(lines) - len(batches))


def _batch(line: bytes) -> Batch | None:
    try:
        run, batch_no, records = orjson.loads(line)
        batch = Batch(UUID(run), batch_no, records.encode())
    except (AttributeError, TypeError, ValueError):
        return None
    # otherwise the database rejects everything read with it
    return batch if type(batch_no) is int and 0 < batch_no < 1 << 63 else None
