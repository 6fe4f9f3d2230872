"""A disk that becomes full in the middle of a line: the kernel's own short write, by a limit on the size of files. And
a file that its disk does not give."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNREADABLE = Path("/proc/self/mem")  # opens, and fails with EIO at its first byte


@contextmanager
def full_after(path: Path, spare: int) -> Iterator[None]:
    """No file of this process grows beyond the present size of `path` and `spare` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
