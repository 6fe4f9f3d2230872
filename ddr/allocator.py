"""How glibc gives memory back that a worker needed for a moment only.

Left alone it raises the size from which a block is a mapping of its own as such blocks are freed, up to 32 MB: the
256 KB that each TLS connection reads into and the bodies of requests then lie in the heap, between what stays, and a
worker under hostile clients keeps 180 MB where 110 do. Blocks above the size here are mappings always: a buffer costs
the pages that were touched, and all of them go back when it is freed. See docs/performance.md.

Smaller ones stay in the heap, and glibc would rather take more than use the holes between what is still in use: after
ten crowds of 1,000 connections a worker had 18 MB in use and 190 MB free. So holes are given back now and then.
"""

from __future__ import annotations

import ctypes
import os

# Of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
OPTIONS = {M_MMAP_THRESHOLD: 128 * 1024, M_TRIM_THRESHOLD: 2 * 1024 * 1024, M_ARENA_MAX: 2}
GIVEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # an operator has decided, or taken another allocator
EVERY_SECONDS = 15.0  # to give back 150 MB takes 10 ms, nothing less than one


def keep_little() -> bool:
    """Tell glibc, before threads begin; False where an operator decided, or where it is not glibc that allocates."""
    if any(name.startswith(GIVEN) for name in os.environ):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and all(tell(option, value) == 1 for option, value in OPTIONS.items())


def give_back() -> bool:
    """Free pages go to the system, wherever in the heap they lie; False where it is not glibc that allocates."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True
