"""Bodies that are arriving: how many a worker waits for at once, so that no caller's unfinished ones block the others.

While its body arrives, a request holds a place here, and none of those for processing (ddr.http.admission).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ddr.http.admission import NoTurn

MOST = 512  # bodies of one listener in a worker
MOST_OF_ONE = 16  # of one patient, DiGA or address: several phones and tabs may send at once, but not more
MOST_BYTES = 128 * 1024 * 1024  # of all bodies held, after decompression


class Bodies:
    """The unfinished bodies of one listener, by caller."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_of_one, self._most_bytes = most, most_of_one, most_bytes
        self._of: Counter[object] = Counter()
        self._all = self._bytes = 0

    @contextmanager
    def coming(self, whose: object) -> Iterator[Coming]:
        """The time during which a body of `whose` arrives. Raises NoTurn."""
        if self._all >= self._most or self._of[whose] >= self._most_of_one:
            raise NoTurn
        body = Coming(self)
        self._all += 1
        self._of[whose] += 1
        try:
            yield body
        finally:
            self._all -= 1
            self._bytes -= body.size
            self._of[whose] -= 1
            if not self._of[whose]:
                del self._of[whose]

    def hold(self, size: int) -> None:
        """Note that this many more bytes are held. Raises NoTurn."""
        self._bytes += size
        if self._bytes > self._most_bytes:
            raise NoTurn


class Coming:
    """An arriving body; `size` is how much of it is there."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    def grow(self, size: int) -> None:
        """Note that another piece has arrived. Raises NoTurn."""
        self.size += size
        self._bodies.hold(size)
