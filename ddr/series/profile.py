"""The ambulatory glucose profile: percentiles of glucose by time of day (Johnson 2019, doi:10.1089/dia.2019.0034)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import accumulate
from math import gcd

from ddr.series.glucose import Scale
from ddr.series.selection import Part

PERCENTILES = (5, 25, 50, 75, 95)
QUARTER = 15 * 60  # seconds; the clocks of all time zones change at the end of one
MINUTES = 24 * 60


@dataclass(frozen=True)
class TimeOfDay:
    """One step of the day: it begins `minute` minutes after midnight; `percentiles` in mg/dL, as in PERCENTILES."""

    minute: int
    readings: int
    percentiles: tuple[float, ...]


def glucose_profile(parts: Sequence[Part], zone: tzinfo, step: int = 15) -> list[TimeOfDay]:
    """The profile of the counting readings (ddr.series.selection), one entry per `step` minutes that have a reading.

    Times of day are those of the clock in `zone`. Each reading weighs its sampling period.
    """
    unit_ms = gcd(*(part.row["period_ms"] for part in parts))
    measured: dict[tuple[Scale, int], Counter[tuple[int, int]]] = {}
    for part in parts:
        kind = Scale.of_row(part.row), part.row["period_ms"] // unit_ms
        measured.setdefault(kind, Counter()).update(zip(_minutes(part, zone, step), part.raws, strict=True))
    weights: dict[int, Counter[float]] = {}
    readings: Counter[int] = Counter()
    for (scale, weight), counts in measured.items():
        mg_dl = {raw: float(scale.number(raw) * scale.step) for raw in {raw for _, raw in counts}}
        for (minute, raw), count in counts.items():
            weights.setdefault(minute, Counter())[mg_dl[raw]] += weight * count
            readings[minute] += count
    return [TimeOfDay(minute, readings[minute], _percentiles(weights[minute])) for minute in sorted(weights)]


def _minutes(part: Part, zone: tzinfo, step: int) -> Iterator[int]:
    """The beginning of each reading's step."""
    offsets: dict[int, int] = {}  # of the clock from UTC in minutes, by quarter of an hour
    for time in part.times:
        quarter = time // (QUARTER * 1000)
        if quarter not in offsets:
            local = datetime.fromtimestamp(quarter * QUARTER, zone)
            offsets[quarter] = local.hour * 60 + local.minute - quarter * 15
        minute = (time // 60_000 + offsets[quarter]) % MINUTES
        yield minute - minute % step


def _percentiles(weights: Mapping[float, int]) -> tuple[float, ...]:
    """By linear interpolation between the ordered values, each repeated by its weight (type 7 of Hyndman and Fan)."""
    values = sorted(weights)
    ends = list(accumulate(weights[value] for value in values))
    return tuple(_percentile(values, ends, percent) for percent in PERCENTILES)


def _percentile(values: Sequence[float], ends: Sequence[int], percent: int) -> float:
    """`ends`: how many values there are up to and including each one."""
    whole, rest = divmod((ends[-1] - 1) * percent, 100)
    low, high = (values[bisect_right(ends, place)] for place in (whole, min(whole + 1, ends[-1] - 1)))
    return low + (high - low) * rest / 100
