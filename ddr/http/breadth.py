"""How many requests a worker processes at once: as many as its connections allow, fewer while they delay each other.

An event loop does one thing at a time. Whatever is begun beyond what keeps it and the database busy does not end
sooner: it delays every step of all others. This shows in how late the loop is, and in how long requests wait for a
connection, which is where work queues when the database cannot keep up. Then fewer requests are begun, and slowly more
again (additive increase, multiplicative decrease, as in RFC 5681).

While more requests come than can be served, those that are served should be served soon: then less lateness is
tolerated, with fewer requests at once. That costs some throughput, because fewer requests share statements and more
time is spent waiting.
"""

from __future__ import annotations

from typing import NamedTuple


class Bounds(NamedTuple):
    """More than `late` seconds are too late for the loop, or for a request that waits for a connection. There are at
    least `least` places. They increase by `more` at each look that finds nobody late; otherwise they are multiplied by
    `fewer`."""

    late: float
    least: int
    more: float
    fewer: float


USUAL = Bounds(0.004, 6, 0.25, 0.85)  # places for each room, and some for the busiest one
CROWDED = Bounds(0.001, 4, 0.1, 0.85)  # one for each room
RUSHED = Bounds(0.001, 4, 0.1, 0.5)  # quickly, because many requests are begun before it shows


class Breadth:
    """The places of one worker; told every few milliseconds how late the loop is."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._now = float(most)
        self._waited = 0.0  # for a connection: the longest wait since the last look

    @property
    def places(self) -> int:
        """How many requests may be processed at once."""
        return int(self._now)

    def waited(self, seconds: float) -> None:
        """A request waited this long for a connection to the database. Concurrent waits count once."""
        self._waited = max(self._waited, seconds)

    def note(self, late_seconds: float, bounds: Bounds = USUAL) -> None:
        """A look found that the loop was this late."""
        longest, self._waited = max(late_seconds, self._waited), 0.0
        if longest > bounds.late:
            self._now = max(min(bounds.least, self._most), self._now * bounds.fewer)
        else:
            self._now = min(self._most, self._now + bounds.more)
