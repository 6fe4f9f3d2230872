"""How glibc gives memory back that a worker needed for a moment only.

Left alone it raises the size from which a block is a mapping of its own as such blocks are freed, up to 32 MB: the
256 KB that each TLS connection reads into and the bodies of requests then lie in the heap, between what stays, and a
worker under hostile clients keeps 180 MB where 110 do. Blocks above the size here are mappings always: a buffer costs
the pages that were touched, and all of them go back when it is freed. See docs/performance.md.
"""

from __future__ import annotations

import ctypes
import os

# Of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
OPTIONS = {M_MMAP_THRESHOLD: 128 * 1024, M_TRIM_THRESHOLD: 2 * 1024 * 1024, M_ARENA_MAX: 2}
GIVEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # an operator has decided, or taken another allocator


def keep_little() -> bool:
    """Tell glibc, before threads begin; False where an operator decided, or where it is not glibc that allocates."""
    if any(name.startswith(GIVEN) for name in os.environ):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and all(tell(option, value) == 1 for option, value in OPTIONS.items())
