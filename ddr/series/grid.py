"""The grid of a continuous series: how slots and chunks lie in time (HDDT retrieving-data.md, Continuous Measurements).

Every instant is in milliseconds since 1970; starts and ends of chunks are whole seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

SECOND = 1000
LONGEST_SPAN = 14 * 86_400 * SECOND  # a step between two readings has to fit into 31 bits (ddr.series.packing)


def whole_second(ms: int) -> int:
    """The last whole second that is not after `ms`."""
    return ms - ms % SECOND


def slot_of(offset_ms: int, period_ms: int) -> int:
    """The slot nearest to an instant `offset_ms` after the chunk's start; halfway belongs to the later one."""
    return (offset_ms + period_ms // 2) // period_ms


def last_second(start_ms: int, span_ms: int, until_ms: int | None) -> int:
    """effectivePeriod.end of a chunk: its last second, or the one before its series was cut at `until_ms`."""
    end = start_ms + span_ms
    if until_ms is not None and until_ms < end:
        end = whole_second(until_ms)
    return max(start_ms, end - SECOND)


def least_slots(start_ms: int, span_ms: int, period_ms: int, until_ms: int | None) -> int:
    """How many slots lie before the end of a chunk, whole or cut at `until_ms`; at least one.

    None lies in the second of the cut, where the next series starts (`last_second`). A reading near the end of a cut
    chunk may belong to the slot after these.
    """
    length = span_ms if until_ms is None else min(span_ms, whole_second(until_ms) - start_ms)
    return max(1, -(-length // period_ms))


def grid_problem(period_ms: int, span_ms: int) -> str | None:
    """Why chunks of `span_ms` cannot hold a sensor of this sampling period, or None when they can."""
    if period_ms <= 2 * SECOND:
        return "the sampling period must be longer than 2 seconds"
    if span_ms % SECOND or not period_ms <= span_ms <= LONGEST_SPAN:
        return "the chunk span must be whole seconds, at least one sampling period and at most 14 days"
    if span_ms % period_ms:
        return "the chunk span must be a multiple of the sampling period"
    return None


@dataclass(frozen=True, slots=True)
class Grid:
    """One series: readings in [from_ms, until_ms), a slot per `period_ms`, chunks of `span_ms` (see `grid_problem`)."""

    from_ms: int
    period_ms: int
    span_ms: int
    until_ms: int | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From the columns of an epoch and its sensor."""
        return cls(row["from_ms"], row["period_ms"], row["span_ms"], row["until_ms"])

    @property
    def slots(self) -> int:
        """Number of slots of a whole chunk."""
        return self.span_ms // self.period_ms

    @property
    def first_start(self) -> int:
        """Where the first chunk starts while there is no reading."""
        return whole_second(self.from_ms)

    def bound(self, start_ms: int) -> int:
        """The first instant that no longer belongs to the chunk that starts at `start_ms`."""
        return start_ms + self.span_ms - self.period_ms // 2

    def holds(self, time_ms: int) -> bool:
        """True when a reading of this instant belongs to this series."""
        return self.from_ms <= time_ms and (self.until_ms is None or time_ms < self.until_ms)
