"""Counts what strangers cause, per kind, client and minute: each count becomes one line in the log, and nothing else.

Nothing that needs no credential may write to the database; otherwise anybody could fill it.
"""

from __future__ import annotations

import logging

from ddr.durations import MINUTE_MS

MOST = 1000  # pairs of kind and client; counted client ids are listed ones, so there are not many

log = logging.getLogger(__name__)


class Strangers:
    """The counters of one worker."""

    def __init__(self) -> None:
        self._minute = 0
        self.counts: dict[tuple[str, str | None], int] = {}

    def count(self, kind: str, client_id: str | None, now_ms: int) -> None:
        """Count one more; the first one of a minute writes the counts of the minute before to the log."""
        minute = now_ms // MINUTE_MS
        if minute != self._minute:
            self.flush()
            self._minute = minute
        key = (kind, client_id)
        if key in self.counts or len(self.counts) < MOST:
            self.counts[key] = self.counts.get(key, 0) + 1

    def flush(self) -> None:
        """Log what was counted, and start anew."""
        for (kind, client_id), count in self.counts.items():
            log.warning("refused.counted", extra={"kind": kind, "client_id": client_id, "count": count})
        self.counts = {}
