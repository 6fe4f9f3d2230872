"""Which readings of a patient count in a summary: valid and calibrated ones, and no time twice.

Rows are mappings with the columns of a chunk, its sensor and its epoch (ddr/store/search/summary.py). Instants are
milliseconds since 1970. docs/cgm-summary.md gives the reason for each rule.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from ddr.series.packing import ERROR, Reading, decode_values, runs
from ddr.series.slots import crowded, shown
from ddr.series.view import readings

Row = Mapping[str, Any]
Span = tuple[int, int]

UNCALIBRATED = frozenset({"not-calibrated", "calibration-required"})  # DeviceMetric.calibration.state


@dataclass(frozen=True)
class Part:
    """The readings of one chunk that count, at least one; `raws` in ascending order of time, without ERROR."""

    row: Row
    raws: Sequence[int]
    first_ms: int
    last_ms: int
    picked: Sequence[int] | None = None  # times of the readings; None when all of the chunk count

    @cached_property
    def times(self) -> Sequence[int]:
        """The times (ms) of the readings that count."""
        return [time for time, _ in readings(self.row)] if self.picked is None else self.picked


def counting(rows: Iterable[Row], from_ms: int, until_ms: int, uncalibrated: bool = False) -> list[Part]:
    """The readings of the chunks `rows`, in any order, that count within [from_ms, until_ms).

    Readings of a sensor without calibration count only with `uncalibrated`. Where sensors overlap, the newest counts.
    """
    usable = [row for row in rows if uncalibrated or row["calibration_state"] not in UNCALIBRATED]
    return _beside([], usable, from_ms, until_ms)


def measured(rows: Sequence[Row], from_ms: int, until_ms: int, uncalibrated: bool = False) -> list[Part]:
    """What counts, supplemented, where nothing does, by what sensors without calibration measured."""
    others = [row for row in rows if not uncalibrated and row["calibration_state"] in UNCALIBRATED]
    return _beside(counting(rows, from_ms, until_ms, uncalibrated), others, from_ms, until_ms)


def _beside(parts: list[Part], rows: list[Row], from_ms: int, until_ms: int) -> list[Part]:
    """`parts`, and those readings of the chunks `rows` whose time they do not cover."""
    rows.sort(key=lambda row: row["start_ms"])
    rows.sort(key=_age, reverse=True)
    for _, group in groupby(rows, key=_age):
        parts += _of_sensor(list(group), from_ms, until_ms, parts)
    return parts


def _age(row: Row) -> tuple[int, int]:
    return row["sensor_started_ms"], row["sensor_no"]


def _of_sensor(rows: Sequence[Row], from_ms: int, until_ms: int, newer: Iterable[Part]) -> list[Part]:
    """What counts of one sensor, outside the time covered by newer sensors; `rows` are in order of time."""
    first, last = rows[0]["start_ms"] - rows[0]["period_ms"], max(row["last_ms"] for row in rows)
    taken = Taken(
        part for part in newer if first - _reach(part) <= part.last_ms and part.first_ms <= last + _reach(part)
    )
    parts: list[Part] = []
    for row in rows:
        if part := _part(row, from_ms, until_ms, taken):
            parts.append(part)
    return parts


def _part(row: Row, from_ms: int, until_ms: int, taken: Taken) -> Part | None:
    """What counts of one chunk. A chunk that counts as a whole, as most do, is not taken apart."""
    raws = decode_values(row["vals"])
    if not raws:
        return None
    period_ms = row["period_ms"]
    first, last = row["start_ms"] + next(runs(row["times"], period_ms))[0], row["last_ms"]
    usual = ERROR not in raws and not crowded(row["times"], period_ms)
    if usual and from_ms <= first and last < until_ms and not taken.meets(first, last):
        return Part(row, raws, first, last)
    picked = list(_picked(row, from_ms, until_ms, taken))
    if not picked:
        return None
    times, kept = zip(*picked, strict=True)
    return Part(row, kept, times[0], times[-1], times)


def _picked(row: Row, from_ms: int, until_ms: int, taken: Taken) -> Iterator[Reading]:
    """Of the readings that the chunk shows, those that count: a calculation from chunks then gives the same."""
    for time, raw in shown(row["times"], row["vals"], row["start_ms"], row["period_ms"]):
        if raw != ERROR and from_ms <= time < until_ms and not taken.meets(time, time):
            yield time, raw


class Taken:
    """The time that the readings of newer sensors cover."""

    def __init__(self, parts: Iterable[Part]) -> None:
        spans = sorted((time - _reach(part), time + _reach(part)) for part in parts for time in part.times)
        joined: list[Span] = []
        for start, end in spans:
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        self._spans = joined

    def meets(self, first_ms: int, last_ms: int) -> bool:
        """True when any instant from `first_ms` to `last_ms` is covered."""
        at = bisect_right(self._spans, last_ms, key=lambda span: span[0])
        return at > 0 and self._spans[at - 1][1] >= first_ms


def _reach(part: Part) -> int:
    """How many ms around itself a reading covers. It is more than half a sampling period, so that an uneven clock opens
    no gap between two readings, and less than a whole one, so that a missing reading does."""
    period: int = part.row["period_ms"]
    return period * 3 // 4
