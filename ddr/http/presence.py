"""When this recorder could not be reached: time limits for clients do not run during that time.

It is known from the looks of this worker and, for the time before its start, from the workers' reports in the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import asyncpg

from ddr.store.outages import reports

LOOK_SECONDS = 1.0
GAP_MS = 3_000  # between two answers of the database, which clients do not notice
BACK_MS = 60_000  # until clients that were told to wait (`Retry-After`) come back
KEPT = 64  # absences

Span = tuple[int, int]
"""From and until, in milliseconds since 1970."""


class Presence:
    """The absences that one worker knows about."""

    def __init__(self) -> None:
        self._absences: deque[Span] = deque(maxlen=KEPT)
        self._seen_ms: int | None = None

    def seen(self, now_ms: int) -> None:
        """The recorder and its database were available at this instant."""
        if self._seen_ms is not None and now_ms - self._seen_ms > GAP_MS:
            self._absences.append((self._seen_ms, now_ms))
        self._seen_ms = now_ms

    async def look(self, pool: asyncpg.Pool, now_ms: int, closed: bool = False) -> None:
        """Query the database as requests do; it was available when the query was sent. Raises what `pool` raises.

        While the setting `maintenance` has the recorder `closed`, nothing is queried: that is an absence.
        """
        if self._seen_ms is None:
            self._seen_ms = await reports.last_served_ms(pool)
        elif not closed:
            await pool.fetchval("SELECT true")
        if not closed:
            self.seen(now_ms)

    def there_ms(self, from_ms: int, until_ms: int, closed: Iterable[Span] = ()) -> int:
        """For how long in this interval clients could reach the recorder: without absences, without the time while it
        was `closed`, and without the time after each during which clients that were told to wait come back. Never below
        0.
        """
        there_ms, at_ms = 0, from_ms
        for gone_ms, back_ms in sorted((*self._absences, *self._lasting(until_ms), *closed)):
            there_ms += max(0, min(gone_ms, until_ms) - at_ms)
            at_ms = max(at_ms, back_ms + BACK_MS)
        return there_ms + max(0, until_ms - at_ms)

    def _lasting(self, now_ms: int) -> Iterable[Span]:
        """The absence that no look has seen the end of, because a request may come first."""
        if self._seen_ms is not None and now_ms - self._seen_ms > GAP_MS:
            yield self._seen_ms, now_ms
