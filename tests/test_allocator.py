"""Memory needed for a moment is returned: large blocks are mappings of their own, and holes are released."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOOK = """
import ctypes
from ddr.allocator import keep_little

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
told = keep_little()
for _ in range(3):
    bytearray(8_000_000)  # which raises glibc's own threshold when it is freed
before = mallinfo2().hblks
kept = [bytearray(256 * 1024) for _ in range(4)]
print(told, mallinfo2().hblks - before)
"""


@pytest.mark.parametrize(
    ("given", "said"), [({}, "True 4"), ({"MALLOC_ARENA_MAX": "1"}, "False 0"), ({"GLIBC_TUNABLES": ""}, "False 0")]
)
def test_large_blocks_are_mappings_unless_the_operator_decided(given: dict[str, str], said: str) -> None:
    own = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=inherited | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == said


# Half of many blocks are freed, each between two that are in use. In a process of its own: how much is free in this one
# depends on what ran before.
HOLES = """
from ddr.allocator import give_back, keep_little
from ddr.operations.figures import memory_bytes

keep_little()
blocks = [bytearray(b"x" * 16_000) for _ in range(8_000)]
del blocks[::2]
before = memory_bytes()
print(give_back(), before, memory_bytes())
"""


def test_holes_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    told, before, after = done.stdout.split()
    assert told == "True"
    assert int(before) - int(after) > 30_000_000, done.stdout
