"""Keeps Python's collector of cyclic garbage from visiting everything while the event loop has a large request.

A full pass visits every object that may refer to others, and nothing else runs meanwhile. A Bundle of 24,000 entries
has 340,000 of these with its answer; visiting them took 0.3 s on a busy machine, and as all are in use, nothing was
found.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

NEVER = 1_000_000_000  # passes of the middle generation before a full one
LONGEST_SECONDS = 30.0  # without full passes, when there is always a large request


class _InHand:
    """How many large requests are in progress, and since when there has been one."""

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0
        self._usual = gc.get_threshold()

    def begin(self) -> None:
        if self._count == 0:
            self._since, self._usual = time.monotonic(), gc.get_threshold()
            gc.set_threshold(*self._usual[:2], NEVER)
        elif time.monotonic() - self._since > LONGEST_SECONDS:
            gc.set_threshold(*self._usual)
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        if self._count == 0:
            gc.set_threshold(*self._usual)


_IN_HAND = _InHand()


@contextmanager
def in_hand(large: bool) -> Iterator[None]:
    """The time in which something is processed; while it is `large`, no full pass begins. On the event loop only."""
    if not large:
        yield
        return
    _IN_HAND.begin()
    try:
        yield
    finally:
        _IN_HAND.end()


def settle() -> None:
    """Exclude what exists now from all further passes: modules, settings, routes."""
    gc.collect()
    gc.freeze()
