"""How glibc returns memory that a worker needed only for a moment.

By default glibc raises the size from which a block gets its own mapping, up to 32 MB, as such blocks are freed. Then
the 256 KB that each TLS connection reads into, and the bodies of requests, lie in the heap between blocks that stay,
and a worker under hostile clients keeps 180 MB where 110 MB would do. With a fixed size, larger blocks always get their
own mapping: a buffer costs only the touched pages, and all of them are returned when it is freed. See
docs/performance.md.

Smaller blocks stay in the heap, and glibc prefers new memory to the holes between used blocks: after ten crowds of
1,000 connections, a worker used 18 MB and had 190 MB free. So holes are returned from time to time.
"""

from __future__ import annotations

import ctypes
import os

# From <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
OPTIONS = {M_MMAP_THRESHOLD: 128 * 1024, M_TRIM_THRESHOLD: 2 * 1024 * 1024, M_ARENA_MAX: 2}
GIVEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # set by an operator, or another allocator is used
EVERY_SECONDS = 15.0  # returning 150 MB takes 10 ms; when there is nothing to return, less than 1 ms


def keep_little() -> bool:
    """Configure glibc before threads start; False where an operator has decided, or glibc is not the allocator."""
    if any(name.startswith(GIVEN) for name in os.environ):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and all(tell(option, value) == 1 for option, value in OPTIONS.items())


def give_back() -> bool:
    """Return free pages to the system, wherever they are in the heap; False where glibc is not the allocator."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True
