"""What the patient's page says about glucose: some weeks, and one day; from the readings that count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta
from fractions import Fraction
from statistics import median
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup

from ddr.aside import aside
from ddr.durations import HOUR_MS
from ddr.http.core import Core
from ddr.miv.model import Miv
from ddr.patient_pages.charts import HOURS, STEP, Point, day_chart, profile_chart, shown
from ddr.patient_pages.dates import ZONE, clock_time, told_time
from ddr.patient_pages.numbers import local, rounded
from ddr.patient_pages.ranges import Range, ranges
from ddr.patient_pages.texts import text
from ddr.series.days import as_local, local_day, midnight
from ddr.series.glucose import Scale
from ddr.series.metrics import Metrics, metrics
from ddr.series.packing import HIGH, LOW
from ddr.series.profile import TimeOfDay, glucose_profiles
from ddr.series.selection import Part, counting, measured
from ddr.series.slots import text as digits
from ddr.store.patients.views import sensor_events
from ddr.store.search.summary import continuous_chunks

PERIODS = (7, 14, 30, 90)  # days; the periods that can be chosen
DAYS = 14  # unless another period is chosen (Battelino 2019)
ENOUGH = 70  # per cent of the time with readings for a meaningful profile (Battelino 2019)
HOUR = 60  # minutes
GAP = 1.5  # sampling periods without a reading that interrupt the curve

Reading = tuple[int, float, str, int]
"""Instant in ms, mg/dL, the value as the patient reads it, and the sampling period in ms."""


@dataclass(frozen=True)
class Hour:
    """One hour of a day: number of readings, lowest, median, highest."""

    begins: str
    count: int
    lowest: str
    middle: str
    highest: str


@dataclass(frozen=True)
class DayView:
    """One day's readings."""

    unit: str
    count: int
    chart: Markup
    hours: tuple[Hour, ...]
    events: tuple[tuple[str, str], ...]  # time of day, "sensor" or "calibration"


@dataclass(frozen=True)
class Weeks:
    """A period of some weeks with readings."""

    first: date
    last: date
    unit: str
    mean: str
    deviation: str  # "" for a single reading
    metrics: Metrics
    active: str  # per cent of the time with readings
    enough: bool  # the consensus requires 70 % of the time
    chart: Markup
    hours: tuple[tuple[str, tuple[str, ...]], ...]  # beginning, percentiles
    ranges: tuple[Range, ...]
    changes: tuple[tuple[date, str], ...]  # day, "sensor" or "calibration"


async def weeks_until(core: Core, patient_id: UUID, miv: Miv, last: date, days: int, lang: str) -> Weeks | None:
    """The profile of the `days` up to `last`, calculated as for a DiGA; None without readings that count.

    Of the current day only the past part counts: the rest cannot have readings yet.
    """
    first = last - timedelta(days=days - 1)
    zone = ZoneInfo(core.settings.time_zone)
    from_ms, until_ms = midnight(first, zone), min(midnight(last + timedelta(days=1), zone), core.clock() + 1)
    rows = await continuous_chunks(core.pool, patient_id, miv.valueset, from_ms, until_ms)
    events = await sensor_events(core.pool, patient_id, miv.valueset, from_ms, until_ms)

    def calculated() -> Weeks | None:
        parts = counting(rows, from_ms, until_ms, core.settings.summary_uncalibrated)
        found = metrics(parts, until_ms - from_ms, zone)
        if found is None:
            return None
        unit = _unit(parts)
        steps, hours = glucose_profiles(parts, zone, STEP, HOUR)
        chart = profile_chart(steps, unit, lang, text(lang, "data.profile"), _profile_words(hours, unit, lang))
        table = tuple(
            (_clock(one.minute), tuple(local(lang, shown(p, unit)) for p in one.percentiles)) for one in hours
        )
        return Weeks(
            first=first,
            last=last,
            unit=unit,
            mean=local(lang, shown(float(found.mean), unit)),
            deviation="" if found.variance is None else local(lang, shown(math.sqrt(found.variance), unit)),
            metrics=found,
            active=part_of_time(found.active, lang),
            enough=found.active >= ENOUGH,
            chart=chart,
            hours=table,
            ranges=tuple(replace(one, counted=local(lang, one.counted)) for one in ranges(found.ranges, unit)),
            changes=tuple(dict.fromkeys((day_of(at_ms), kind) for at_ms, kind in events)),
        )

    return await aside(True, calculated)


def part_of_time(percent: Fraction, lang: str) -> str:
    """The time with readings, in whole per cent; what is not ENOUGH is not rounded up to it."""
    whole = rounded(lang, percent)
    below = percent < ENOUGH and whole == str(ENOUGH)
    return rounded(lang, Fraction(math.floor(percent * 10), 10), 1) if below else whole


async def one_day(core: Core, patient_id: UUID, miv: Miv, day: date, lang: str) -> DayView | None:
    """The curve of a German day, with warm-up readings where there are no others; None without readings."""
    from_ms, until_ms = midnight(day, ZONE), midnight(day + timedelta(days=1), ZONE)
    rows = await continuous_chunks(core.pool, patient_id, miv.valueset, from_ms, until_ms)
    events = await sensor_events(core.pool, patient_id, miv.valueset, from_ms, until_ms)

    def drawn() -> DayView | None:
        found = measured(rows, from_ms, until_ms, core.settings.summary_uncalibrated)
        parts = sorted(found, key=lambda part: part.first_ms)
        if not parts:
            return None
        unit = _unit(parts)
        readings = sorted(reading for part in parts for reading in _readings(part, unit, lang))
        curve = _pieces(readings, from_ms, until_ms)
        marks = [((at_ms - from_ms) / (until_ms - from_ms), kind) for at_ms, kind in events]
        words = _day_words(readings, unit, lang)
        chart = day_chart(curve, marks, unit, lang, text(lang, "data.curve"), words, _hours_of(day))
        told = tuple((told_time(lang, at_ms), kind) for at_ms, kind in events)
        return DayView(unit, len(readings), chart, tuple(_hours(readings, lang)), told)

    return await aside(True, drawn)


def _unit(parts: Sequence[Part]) -> str:
    """The unit of the newest sensor, which the patient is used to."""
    unit: str = max(parts, key=lambda part: part.last_ms).row["unit"]
    return unit


def _readings(part: Part, unit: str, lang: str) -> Iterator[Reading]:
    scale = Scale.of_row(part.row)
    values = {
        raw: (float(scale.number(raw) * scale.step), local(lang, _written(raw, scale, unit))) for raw in set(part.raws)
    }
    for time, raw in zip(part.times, part.raws, strict=True):
        yield time, *values[raw], part.row["period_ms"]


def _written(raw: int, scale: Scale, unit: str) -> str:
    """A value as a DiGA reads it; for `L` and `U` the limit. In another unit than the sensor's it has the usual
    decimals."""
    sign, number = {LOW: ("<", scale.low + 1), HIGH: (">", scale.high - 1)}.get(raw, ("", raw))
    return sign + (digits(number, scale.decimals) if unit == scale.unit else shown(float(number * scale.step), unit))


def _pieces(readings: Sequence[Reading], from_ms: int, until_ms: int) -> list[list[Point]]:
    pieces: list[list[Point]] = []
    before, usual = 0, 0
    for time, mg_dl, _, period in readings:
        if time - before > max(usual, period) * GAP:
            pieces.append([])
        pieces[-1].append(((time - from_ms) / (until_ms - from_ms), mg_dl))
        before, usual = time, period
    return pieces


def _hours_of(day: date) -> Mapping[int, float]:
    """The part of a German day that has passed when clocks show each hour: one day lacks an hour, one has an extra
    one."""
    from_ms, until_ms = midnight(day, ZONE), midnight(day + timedelta(days=1), ZONE)
    shown_ms = {hour: as_local(midnight(day, UTC) + hour * HOUR_MS, ZONE) for hour in HOURS}
    return {hour: (at_ms - from_ms) / (until_ms - from_ms) for hour, at_ms in shown_ms.items()}


def _hours(readings: Sequence[Reading], lang: str) -> Iterator[Hour]:
    by_hour: Mapping[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        by_hour[told_time(lang, reading[0] - reading[0] % HOUR_MS)].append(reading)
    for begins, own in by_hour.items():
        ordered = sorted(own, key=lambda reading: reading[1])
        middle = ordered[(len(ordered) - 1) // 2]
        yield Hour(begins, len(own), ordered[0][2], middle[2], ordered[-1][2])


def _day_words(readings: Sequence[Reading], unit: str, lang: str) -> str:
    lowest, highest = (pick(readings, key=lambda reading: reading[1]) for pick in (min, max))
    return text(
        lang,
        "data.curve_words" if len(readings) > 1 else "data.curve_words_of_one",
        count=len(readings),
        unit=unit,
        lowest=lowest[2],
        lowest_at=clock_time(lang, lowest[0]),
        highest=highest[2],
        highest_at=clock_time(lang, highest[0]),
    )


def _profile_words(hours: Sequence[TimeOfDay], unit: str, lang: str) -> str:
    lowest, highest = (pick(hours, key=lambda one: one.percentiles[2]) for pick in (min, max))
    return text(
        lang,
        "data.profile_words",
        unit=unit,
        lowest=local(lang, shown(lowest.percentiles[2], unit)),
        lowest_at=_clock(lowest.minute),
        highest=local(lang, shown(highest.percentiles[2], unit)),
        highest_at=_clock(highest.minute),
        overall=local(lang, shown(median(one.percentiles[2] for one in hours), unit)),
    )


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def day_of(ms: int) -> date:
    """The German day of an instant."""
    return local_day(ms, ZONE)
