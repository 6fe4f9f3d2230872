"""When a recorder is to be left alone: its 503 says so to one pairing, and is meant for all. No I/O of its own."""

from __future__ import annotations

ENOUGH = 2  # pairings in a row: a 503 that always meets the same one is that one's affair, and stops nobody else


class Rest:
    """What a DiGA concludes from the 503 of one recorder. `longest`: seconds after which it asks again in any case.

    Times are seconds of any clock that does not go back.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._refused: set[str] = set()  # since the recorder has answered somebody
        self._until = float("-inf")

    def refused(self, pairing_id: str, seconds: float, now: float) -> None:
        """A 503, with its Retry-After (RFC 9110 section 10.2.3)."""
        self._refused.add(pairing_id)
        if len(self._refused) >= ENOUGH:
            self._until = max(self._until, now + min(seconds, self._longest))

    def answered(self) -> None:
        """Anything but a 503. What it said before holds: this may have been asked earlier."""
        self._refused.clear()

    def left(self, now: float) -> float:
        """Seconds for which nothing new is to be asked, 0 when there is no reason to wait."""
        return max(0.0, self._until - now)
