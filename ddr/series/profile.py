"""The ambulatory glucose profile: percentiles of glucose by time of day (Johnson 2019, doi:10.1089/dia.2019.0034)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import accumulate, repeat
from math import gcd

from ddr.durations import MINUTE_MS
from ddr.series.glucose import Scale
from ddr.series.selection import Part

PERCENTILES = (5, 25, 50, 75, 95)
QUARTER = 15  # minutes; the clocks of all time zones change at the end of one
MINUTES = 24 * 60

Weighed = tuple[float, int]
"""A reading in mg/dL, and its weight."""


@dataclass(frozen=True)
class TimeOfDay:
    """One step of the day: it begins `minute` minutes after midnight; `percentiles` in mg/dL, as in PERCENTILES."""

    minute: int
    readings: int
    percentiles: tuple[float, ...]


def glucose_profiles(parts: Sequence[Part], zone: tzinfo, *steps: int) -> list[list[TimeOfDay]]:
    """The profile of the counting readings (ddr.series.selection) for each of `steps`, which are lengths in minutes.

    It has one entry for each step of the day with a reading. Times of day are those of the clock in `zone`. Each
    reading weighs its sampling period.
    """
    unit_ms = gcd(*(part.row["period_ms"] for part in parts))
    length = gcd(QUARTER, *steps)
    mg_dl: dict[Scale, dict[int, float]] = {}
    found: dict[int, list[Weighed]] = {}
    for part in parts:
        scale, weight = Scale.of_row(part.row), part.row["period_ms"] // unit_ms
        known = mg_dl.setdefault(scale, {})
        known.update({raw: float(scale.number(raw) * scale.step) for raw in set(part.raws) - known.keys()})
        for minute, raws in _pieces(part, zone, length):
            found.setdefault(minute, []).extend(zip(map(known.__getitem__, raws), repeat(weight)))
    return [_profile(found, step) for step in steps]


def _pieces(part: Part, zone: tzinfo, length: int) -> Iterator[tuple[int, Sequence[int]]]:
    """The values by `length` minutes, of which a QUARTER is a multiple, and the minute of the day at which each piece
    begins."""
    times, length_ms = part.times, length * MINUTE_MS
    last = 0
    while last < len(times):
        first, begin_ms = last, times[last] - times[last] % length_ms
        last = bisect_left(times, begin_ms + length_ms, first)
        local = datetime.fromtimestamp(begin_ms // 1000, zone)
        yield local.hour * 60 + local.minute, part.raws[first:last]


def _profile(found: Mapping[int, list[Weighed]], step: int) -> list[TimeOfDay]:
    """Of what was `found` in the pieces of the day."""
    by_step: dict[int, list[Weighed]] = {}
    for minute, weighed in found.items():
        by_step.setdefault(minute - minute % step, []).extend(weighed)
    return [TimeOfDay(minute, len(weighed), _percentiles(weighed)) for minute, weighed in sorted(by_step.items())]


def _percentiles(weighed: list[Weighed]) -> tuple[float, ...]:
    """By linear interpolation between the ordered values, each repeated by its weight (type 7 of Hyndman and Fan)."""
    weighed.sort()
    values, weights = zip(*weighed, strict=True)
    ends = list(accumulate(weights))
    return tuple(_percentile(values, ends, percent) for percent in PERCENTILES)


def _percentile(values: Sequence[float], ends: Sequence[int], percent: int) -> float:
    """`ends`: how many values there are up to and including each one."""
    whole, rest = divmod((ends[-1] - 1) * percent, 100)
    low, high = (values[bisect_right(ends, place)] for place in (whole, min(whole + 1, ends[-1] - 1)))
    return low + (high - low) * rest / 100
