"""How many requests a worker works on at once: as many as its connections allow, fewer while they make each other late.

One event loop does one thing at a time. What is begun beyond what keeps it and the database busy does not end sooner:
it makes every step of all others wait. That shows in how late the loop is, and in how long requests wait for a
connection, which is where work queues that the database does not get done. Then fewer are begun, and slowly more again
(additive increase, multiplicative decrease, as in RFC 5681).

While more comes than can be done, who is served is to be served soon: then less lateness is borne, with fewer at once.
That costs some of what could be done, as fewer share statements and more of the time somebody waits for somebody.
"""

from __future__ import annotations

from typing import NamedTuple


class Bounds(NamedTuple):
    """More than `late` seconds are too late for the loop, or for a request that waits for a connection. There are at
    least `least` places, `more` of them at each look that finds nobody late, else `fewer` times so many."""

    late: float
    least: int
    more: float
    fewer: float


USUAL = Bounds(0.004, 6, 0.25, 0.85)  # places for each room, and some for the one that is asked most
CROWDED = Bounds(0.001, 4, 0.1, 0.85)  # one for each room
RUSHED = Bounds(0.001, 4, 0.1, 0.5)  # soon, as many are begun before it shows


class Breadth:
    """The places of one worker; told every few milliseconds how late it is."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._now = float(most)
        self._waited = 0.0  # for a connection: the longest since the last look

    @property
    def places(self) -> int:
        """How many requests may be worked on at once."""
        return int(self._now)

    def waited(self, seconds: float) -> None:
        """A request waited so long for a connection to the database. Many of one time count once."""
        self._waited = max(self._waited, seconds)

    def note(self, late_seconds: float, bounds: Bounds = USUAL) -> None:
        """A look: the loop was so late."""
        longest, self._waited = max(late_seconds, self._waited), 0.0
        if longest > bounds.late:
            self._now = max(min(bounds.least, self._most), self._now * bounds.fewer)
        else:
            self._now = min(self._most, self._now + bounds.more)
