"""When to leave a recorder alone: one pairing receives its 503, but all are meant. No I/O of its own."""

from __future__ import annotations

ENOUGH = 2  # different pairings since the last answer: a 503 that only one pairing meets concerns that one alone


class Rest:
    """What a DiGA concludes from a recorder's 503s. `longest` is the most seconds for which the recorder is left alone.

    Times are seconds of any clock that is never set back.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._refused: set[str] = set()  # since the recorder last answered a pairing
        self._until = float("-inf")

    def refused(self, pairing_id: str, seconds: float, now: float) -> None:
        """Note a 503 with its Retry-After (RFC 9110 section 10.2.3)."""
        self._refused.add(pairing_id)
        if len(self._refused) >= ENOUGH:
            self._until = max(self._until, now + min(seconds, self._longest))

    def answered(self) -> None:
        """Note any other response. An earlier Retry-After still holds: this request may have been sent before it."""
        self._refused.clear()

    def left(self, now: float) -> float:
        """Seconds for which nothing new should be requested; 0 when there is no reason to wait."""
        return max(0.0, self._until - now)
