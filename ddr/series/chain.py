"""Cutting a series into chunks whose starts follow the sensor's clock ("chaining", docs/time-in-series.md).

The result depends on the *set* of readings only, never on the order or the batches in which they came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ddr.series.grid import Grid, slot_of, whole_second
from ddr.series.packing import Reading


class Cut(NamedTuple):
    """One chunk: its number in the series, the time of its slot 0, and its readings in ascending order."""

    k: int
    start_ms: int
    readings: Sequence[Reading]


def cut(
    readings: Sequence[Reading],
    grid: Grid,
    k: int = 0,
    expected_ms: int | None = None,
    last_k: int = -1,
    cover_ms: int = 0,
) -> Iterator[Cut]:
    """The chunks of ascending `readings`, from chunk number `k` on, whose expected start is `expected_ms`.

    Ends with the chunk of the last reading, with number `last_k` or with the last chunk that starts before `cover_ms`,
    whichever comes last. Without `k` and `expected_ms` this is the full cut. With those of a later chunk and the
    readings from there on, it is the rest of the full cut.
    """
    expected = grid.first_start if expected_ms is None else expected_ms
    at = 0
    while at < len(readings) or k <= last_k or expected < cover_ms:
        slot = _first_slot(readings[at][0] - expected, k, grid.period_ms) if at < len(readings) else grid.slots
        if slot < grid.slots:
            start = whole_second(readings[at][0] - slot * grid.period_ms)
            after = bisect_left(readings, (grid.bound(start),), at)
        else:
            start, after = expected, at
        yield Cut(k, start, readings[at:after])
        k, expected, at = k + 1, start + grid.span_ms, after


def _first_slot(offset_ms: int, k: int, period_ms: int) -> int:
    """The slot of a chunk's first reading, `offset_ms` after the chunk's expected start.

    The nearest slot. Only the first chunk is bound by its series: it never starts before it, or it would overlap the
    previous series.
    """
    return slot_of(offset_ms, period_ms) if k else offset_ms // period_ms
