"""What $hddt-cgm-summary may say about the chunks that were read: for each metric a range of values.

HDDT and HL7 CGM 1.0.0 name the metrics and leave their calculation to the recorder (SUM-021): L and U left out, taken
as the limit or as one step beyond it; values of an uncalibrated sensor; which of two overlapping sensors counts; the
edges of the period; SD of a sample or of all. Each choice has its own result; anything between all of them is accepted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from math import fsum, sqrt
from zoneinfo import ZoneInfo

from ddr.conform.exchange import Json
from ddr.conform.laws import codes
from ddr.conform.laws.chunks import Chunk, is_sample
from ddr.conform.laws.observations import sampled_value
from ddr.durations import DAY_MS

MOLAR = (18.0, 18.0182)  # mg/dL in one mmol/L: smallest and largest factor in use
LIMITS = {"mg/dL": (40.0, 400.0, 1.0), "mmol/L": (2.2, 22.2, 0.1)}  # of a sensor without any, and a step
# Upper bounds of the ranges (Battelino 2019), in the unit of measurement: below, below, up to, up to.
RANGES = {"mg/dL": (54.0, 70.0, 180.0, 250.0), "mmol/L": (3.0, 3.9, 10.0, 13.9)}
ZONES = (ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"))
MEAN_MASS, MEAN_MOLES, GMI, CV = "97507-8", "105273-7", "97506-0", "104638-2"
DAYS, ACTIVE = "104636-6", "104637-4"
Bounds = dict[str, list[tuple[float, float]]]  # by LOINC code: smallest and largest value for each way to calculate


@dataclass(frozen=True)
class Sample:
    """A measured value at a time in milliseconds; `text` is a number, L or U; `step` is the time that it stands for."""

    at: float
    text: str
    unit: str
    step: float
    low: float
    high: float
    sensor: int  # a larger number for a sensor that began later
    calibrated: bool

    def value(self, choice: str) -> float | None:
        """In its own unit; None when this choice leaves it out."""
        if self.text not in ("L", "U"):
            return float(self.text)
        step = LIMITS[self.unit][2] if choice == "beyond" else 0.0
        bound = self.low - step if self.text == "L" else self.high + step
        return None if choice == "leave" else bound


def samples(
    series: Mapping[str, Sequence[Chunk]], origins: Mapping[str, Json], uncalibrated: Iterable[str]
) -> list[Sample]:
    """Every value of the chunks, in order of time.

    `origins` are the Observations by key; `uncalibrated` the DeviceMetrics with that state, as `<Type>/<id>`.
    """
    found = []
    doubtful = frozenset(uncalibrated)
    begun = sorted(series, key=lambda name: series[name][0].start)
    for rank, name in enumerate(begun):
        for one in series[name]:
            data = origins[one.key].get("valueSampledData") or {}
            unit = str((data.get("origin") or {}).get("code"))
            if unit not in LIMITS or one.step <= 0:
                continue
            low, high = (float(data.get(key, LIMITS[unit][at])) for at, key in enumerate(("lowerLimit", "upperLimit")))
            good = name.partition(" ")[0] not in doubtful
            found += [
                Sample(one.start + place * one.step, _measured(data, text), unit, one.step, low, high, rank, good)
                for place, text in enumerate(one.tokens)
                if text != "E" and is_sample(text)
            ]
    return sorted(found, key=lambda one: (one.at, one.sensor))


def _measured(data: Json, text: str) -> str:
    return text if text in ("L", "U") else str(sampled_value(data, text))


def bounds(found: Sequence[Sample], periods: Sequence[tuple[float, float]]) -> Bounds:
    """The accepted range of each metric; {} when no choice leaves a value.

    `periods` are the first and last instant of the reporting period, in all possible interpretations.
    """
    every: dict[tuple[str, str], list[float]] = {}
    for period in periods:
        for chosen in _choices(_within(found, period)):
            for way, numbers in _metrics(chosen, period).items():
                every.setdefault(way, []).extend(numbers)
    result: Bounds = {}
    for (code, _), numbers in every.items():
        result.setdefault(code, []).append((min(numbers), max(numbers)))
    return result


def _within(found: Sequence[Sample], period: tuple[float, float]) -> Iterator[list[Sample]]:
    """With and without the samples at the edges: times of samples are those of slots, not of measurement."""
    times = [one.at for one in found]
    widest = max((one.step for one in found), default=0.0)
    for margin in {-widest, 0.0, widest}:
        yield list(found[bisect_left(times, period[0] - margin) : bisect_left(times, period[1] + margin)])


def _choices(some: Iterable[list[Sample]]) -> Iterator[list[tuple[Sample, float]]]:
    for within in some:
        warm = (within, [one for one in within if one.calibrated]) if _any_doubt(within) else (within,)
        for one, limit in product(warm, ("leave", "limit", "beyond") if _any_signs(within) else ("leave",)):
            for kept in _once(one):
                values = [(sample, value) for sample in kept if (value := sample.value(limit)) is not None]
                if values:
                    yield values


def _any_doubt(within: Sequence[Sample]) -> bool:
    return any(not one.calibrated for one in within)


def _any_signs(within: Sequence[Sample]) -> bool:
    return any(one.text in ("L", "U") for one in within)


def _once(within: list[Sample]) -> Iterator[list[Sample]]:
    """All values; and where sensors overlap only those of the newer, or of the older one."""
    yield within
    if len({one.sensor for one in within}) > 1:
        for newer in (True, False):
            yield list(_ruling(within, newer))


def _ruling(within: list[Sample], newer: bool) -> Iterator[Sample]:
    by_sensor: dict[int, list[Sample]] = {}
    for one in within:
        by_sensor.setdefault(one.sensor, []).append(one)
    for sensor, own in by_sensor.items():
        rulers = [others for rank, others in by_sensor.items() if (rank > sensor) == newer and rank != sensor]
        times = [[one.at for one in others] for others in rulers]
        for one in own:
            if not any(_near(one.at, others, rulers[place][0].step) for place, others in enumerate(times)):
                yield one


def _near(at: float, times: list[float], step: float) -> bool:
    place = bisect_left(times, at - 0.75 * step)
    return place < len(times) and times[place] <= at + 0.75 * step


def _metrics(chosen: Sequence[tuple[Sample, float]], period: tuple[float, float]) -> dict[tuple[str, str], list[float]]:
    """Numbers by metric and way to calculate it; those of one way are close together."""
    weights = [sample.step for sample, _ in chosen]
    total, count = fsum(weights), len(chosen)
    shares = [0.0] * 5
    for sample, value in chosen:
        shares[_range(value, RANGES[sample.unit])] += sample.step
    found = {(code, ""): [100 * share / total] for code, share in zip(codes.RANGES, shares, strict=True)}
    means = []
    for factor in MOLAR:
        values = [value if sample.unit == "mg/dL" else value * factor for sample, value in chosen]
        mean = fsum(value * weight for value, weight in zip(values, weights, strict=True)) / total
        means.append(mean)
        squares = fsum(weight * (value - mean) ** 2 for value, weight in zip(values, weights, strict=True)) / total
        spread = [sqrt(squares), sqrt(squares * count / (count - 1))] if count > 1 else []
        found.setdefault((CV, ""), []).extend(100 * one / mean for one in spread if mean)
    found[MEAN_MASS, ""] = means
    found[MEAN_MOLES, ""] = [mean / factor for mean, factor in product(means, MOLAR)]
    found[GMI, ""] = [3.31 + 0.02392 * mean for mean in means]
    first, last = chosen[0][0], chosen[-1][0]
    covered = last.at + last.step - first.at
    found[ACTIVE, "of the period"] = [min(100.0, 100 * total / (period[1] - period[0]))]
    found[ACTIVE, "of the time from the first to the last value"] = [min(100.0, 100 * total / covered)]
    days = [len({datetime.fromtimestamp(one.at / 1000, zone).date() for one, _ in chosen}) for zone in ZONES]
    found[DAYS, "calendar days"] = [*map(float, days)]
    found[DAYS, "the time of the values"] = [total / DAY_MS]
    found[DAYS, "the time from the first to the last value"] = [covered / DAY_MS]
    return found


def _range(value: float, upper: tuple[float, float, float, float]) -> int:
    very_low, low, high, very_high = upper
    if value < low:
        return 0 if value < very_low else 1
    if value <= high:
        return 2
    return 3 if value <= very_high else 4
