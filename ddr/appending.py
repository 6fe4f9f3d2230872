"""Lines that are on the disk before anybody relies on them: whole ones, in a file that its folder knows."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def append(descriptor: int, content: bytes) -> None:
    """One write, so that lines of several processes do not mix; returns when it is on the disk.

    Raises OSError, for a part too: the disk is full, or the quota of this account. That part stays in the file.
    """
    written = os.write(descriptor, content)
    os.fsync(descriptor)
    if written < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def keep_names(folder: Path) -> None:
    """Let the names of new files in `folder` be on the disk, too. Raises OSError."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
