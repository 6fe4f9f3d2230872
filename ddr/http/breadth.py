"""How many requests a worker works on at once: as many as its connections allow, fewer while they make each other late.

One event loop does one thing at a time. What is begun beyond what keeps it and the database busy does not end sooner:
it makes every step of all others wait. That shows in how late the loop is, and in how long requests wait for a
connection, which is where work queues that the database does not get done. Then fewer are begun, and slowly more again
(additive increase, multiplicative decrease, as in RFC 5681).
"""

from __future__ import annotations

LATE_SECONDS = 0.004  # of the loop, or that a request waited for a connection
LEAST = 6  # places: one for each room, and some for the one that is asked most
FEWER, MORE = 0.85, 0.25  # at each look: times so many, or so many more


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

    def note(self, late_seconds: float) -> None:
        """A look: the loop was so late."""
        longest, self._waited = max(late_seconds, self._waited), 0.0
        if longest > LATE_SECONDS:
            self._now = max(min(LEAST, self._most), self._now * FEWER)
        else:
            self._now = min(self._most, self._now + MORE)
