"""Files that are complete or absent, even if two commands write them at once, or one is killed in the middle."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

OWN, ALL = 0o600, 0o666  # who may read it; the umask restricts `ALL`
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # errors of a write or a read: they carry no file name


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Whatever is written or read in the block belongs to `path`: errors of its disk get its name."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in NO_ROOM:
            error.filename = str(path)
        raise


@contextmanager
def draft(file: Path, mode: int = ALL) -> Iterator[IO[bytes]]:
    """A new file that replaces `file` when the block succeeds, and is deleted otherwise.

    Of two concurrent writers, the later one's file stays, complete. Anything but an ordinary file (a pipe, /dev/stdout)
    is written to directly. Raises OSError.
    """
    if file.exists() and not file.is_file():
        with naming(file), file.open("wb") as out:
            yield out
        return
    file = file.resolve()
    part = file.parent / f"{file.name}.{secrets.token_hex(4)}.part"
    try:
        with naming(file), os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path, *, patient: bool = False) -> Iterator[None]:
    """Exclude others that use this from writing into `folder` during the block. Raises BlockingIOError; `patient`:
    waits instead.

    It ends with the process, however that ends. On a file system without locks it excludes nobody.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BlockingIOError(errno.EAGAIN, "somebody else writes into it just now", str(folder)) from None
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)
