"""A disk that fills up in the middle of a line: the kernel's own short write, by a limit on file sizes. And a file that
cannot be read from its disk."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNREADABLE = Path("/proc/self/mem")  # can be opened, and fails with EIO at its first byte


@contextmanager
def full_after(path: Path, spare: int) -> Iterator[None]:
    """No file of this process grows beyond the present size of `path` plus `spare` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
