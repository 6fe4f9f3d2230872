"""What the allocator has free goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ddr import allocator

# In a process of its own: how much is free in this one depends on what ran before. Half of many blocks are freed, each
# between two that are in use, and one at the end of the heap stays.
FREED = """
from ddr.allocator import give_back
from ddr.operations.figures import memory_bytes

blocks = [bytearray(b"x" * 16_000) for _ in range(8_000)]
del blocks[::2]
before = memory_bytes()
give_back()
print(before, memory_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_holes_are_given_back() -> None:
    assert allocator._trim is not None, "glibc has it"
    told = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())
    assert before - after > 30_000_000, told
