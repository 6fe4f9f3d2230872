"""The clinical metrics of continuous glucose monitoring, exact: international consensus 2019, GMI of Bergenstal 2018.

Each distinct value enters the calculation once, however often it was measured; sums are whole numbers and fractions.
docs/cgm-summary.md gives the reason for each rule.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from fractions import Fraction

from ddr.series.days import local_day, midnight
from ddr.series.glucose import MG_PER_MMOL, RANGES, Scale, range_of
from ddr.series.selection import Part


@dataclass(frozen=True)
class Metrics:
    """The metrics of a reporting period with at least one reading; shares in per cent."""

    readings: int
    mean: Fraction  # mg/dL
    variance: Fraction | None  # of the sample, (mg/dL)²; None for a single reading
    ranges: tuple[Fraction, ...]  # shares of very low, low, in range, high, very high; their sum is 100
    days_of_wear: int
    active: Fraction  # share of the reporting period in which the sensor was active

    @property
    def mean_mmol(self) -> Fraction:
        """The mean in mmol/L."""
        return self.mean / MG_PER_MMOL

    @property
    def gmi(self) -> Fraction:
        """Glucose management indicator in per cent (Bergenstal 2018, doi:10.2337/dc18-1581)."""
        return Fraction("3.31") + Fraction("0.02392") * self.mean

    @property
    def cv(self) -> float | None:
        """Coefficient of variation in per cent; None where it is not defined."""
        if self.variance is None or self.mean <= 0:
            return None
        return 100 * math.sqrt(self.variance) / float(self.mean)


@dataclass(frozen=True)
class Histogram:
    """How often each number was measured by sensors of one scale and sampling period."""

    scale: Scale
    weight: int  # the sampling period: the time that each reading stands for
    counts: dict[int, int]

    def power(self, exponent: int) -> Fraction:
        """The sum of the values in mg/dL to the power of 0, 1 or 2."""
        steps: int = sum(count * number**exponent for number, count in self.counts.items())
        return Fraction(self.scale.step**exponent) * steps

    def ranges(self) -> list[int]:
        """How many readings lie in each range, judged in the unit in which they were measured."""
        limits, found = self.scale.limits(), [0] * RANGES
        for number, count in self.counts.items():
            found[range_of(number, limits)] += count
        return found


def metrics(parts: Sequence[Part], period_ms: int, zone: tzinfo) -> Metrics | None:
    """The metrics of the counting readings of a reporting period of `period_ms`; None when there are none.

    Days begin at midnight in `zone`.
    """
    if not parts:
        return None
    histograms = list(_histograms(parts))
    time = _total(histograms, 0)  # the time that all readings together stand for
    mean = _total(histograms, 1) / time
    ranges = [
        sum(shares) for shares in zip(*([one.weight * n for n in one.ranges()] for one in histograms), strict=True)
    ]
    return Metrics(
        readings=sum(len(part.raws) for part in parts),
        mean=mean,
        variance=_variance(histograms, time, mean),
        ranges=tuple(100 * share / time for share in ranges),
        days_of_wear=len({day for part in parts for day in _days(part, zone)}),
        active=min(Fraction(100), 100 * time / period_ms),
    )


def _histograms(parts: Iterable[Part]) -> Iterator[Histogram]:
    grouped: dict[tuple[Scale, int], Counter[int]] = {}
    for part in parts:
        grouped.setdefault((Scale.of_row(part.row), part.row["period_ms"]), Counter()).update(part.raws)
    for (scale, period_ms), raws in grouped.items():
        counts: Counter[int] = Counter()
        for raw, count in raws.items():
            counts[scale.number(raw)] += count
        yield Histogram(scale, period_ms, counts)


def _total(histograms: Iterable[Histogram], exponent: int) -> Fraction:
    return sum((one.weight * one.power(exponent) for one in histograms), Fraction(0))


def _variance(histograms: Sequence[Histogram], time: Fraction, mean: Fraction) -> Fraction | None:
    """Unbiased variance under reliability weights; with equal weights it is the plain sample variance, over n - 1."""
    squares = _total(histograms, 2) - time * mean**2
    freedom = time - sum(one.weight**2 * one.power(0) for one in histograms) / time
    return squares / freedom if freedom else None


def _days(part: Part, zone: tzinfo) -> Iterator[int]:
    """The calendar days with a reading, as ordinals."""
    first, last = (local_day(ms, zone).toordinal() for ms in (part.first_ms, part.last_ms))
    yield first
    yield last
    for day in range(first + 1, last):
        begin, end = (midnight(date.fromordinal(number), zone) for number in (day, day + 1))
        if bisect_left(part.times, begin) < bisect_left(part.times, end):
            yield day
