"""Lines that are on the disk before anybody relies on them: complete, in a file whose name is on the disk, too."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def append(descriptor: int, content: bytes) -> None:
    """Writes once, so that lines of several processes do not mix; returns when it is on the disk.

    Raises OSError, even for a partial write, when the disk or this account's quota is full. The written part stays in
    the file.
    """
    written = os.write(descriptor, content)
    os.fsync(descriptor)
    if written < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def keep_names(folder: Path) -> None:
    """Make sure that the names of new files in `folder` are on the disk, too. Raises OSError."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
