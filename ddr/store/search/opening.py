"""When a pairing was allowed to see more than it had seen from its start: to its DiGA that is new (RS-036)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Opening:
    """For one MIV and one pairing, in ms: all of it opened at `opened_ms`, and what ended before `older_ms` at
    `older_opened_ms`; 0: visible from the start."""

    opened_ms: int = 0
    older_ms: int = 0
    older_opened_ms: int = 0

    def updated_ms(self, updated_ms: int, end_ms: int) -> int:
        """meta.lastUpdated of an Observation that changed at `updated_ms` and covers time up to `end_ms`."""
        return max(updated_ms, self.opened_ms, self.older_opened_ms if end_ms < self.older_ms else 0)


OPEN = Opening()
