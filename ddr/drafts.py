"""Files that are whole or not there, also when two commands write them at once, or one is killed in the middle."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

OWN, ALL = 0o600, 0o666  # who may read it; of `ALL` the umask takes away
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # of a write, or a read, which are told no name


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What is written or read in the block is that of `path`: an error of its disk bears its name."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in NO_ROOM:
            error.filename = str(path)
        raise


@contextmanager
def draft(file: Path, mode: int = ALL) -> Iterator[IO[bytes]]:
    """A new file that takes the name and the place of `file` when the block ends well, and else is gone.

    Of two that write at once the later one stays, whole. What is no ordinary file (a pipe, /dev/stdout) is written to.
    Raises OSError.
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
    """Nobody else who asks so writes into `folder` during the block. Raises BlockingIOError; `patient`: waits instead.

    It ends with the process, however that ends. On a file system without locks it holds nobody off.
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
