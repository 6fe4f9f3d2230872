"""The metrics against vectors whose results independent implementations agree on, and the rules at the edges."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from statistics import fmean, stdev
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ddr.series.glucose import MG_PER_MMOL, Scale, range_of
from ddr.series.metrics import Metrics, metrics
from ddr.series.packing import HIGH, LOW
from tests.series.traces import DAY, HOUR, MINUTE, PERIOD, START, calculated, evenly, rows_of

BERLIN = ZoneInfo("Europe/Berlin")

EDGES = [53, 54, 69, 70, 180, 181, 250, 251]
WAVE = [
    round(150 + 70 * math.sin(2 * math.pi * i / 288) + 35 * math.sin(2 * math.pi * i / (288 * 3.7)))
    for i in range(4032)
]
WITHOUT_DAY_5 = [reading for i, reading in enumerate(evenly(WAVE)) if i // 288 != 5]
DAYS_2_TO_11 = [reading for i, reading in enumerate(evenly(WAVE)) if 2 <= i // 288 <= 11]
WITH_GAP = [reading for i, reading in enumerate(evenly([100, 0, 120, 140])) if i != 1]

# readings | n, mean, SD, CV, GMI | shares of very low to very high | days of wear, active in 14 days
VECTORS = {
    "A": (evenly(EDGES), (8, 138.5, 86.6767393414, 62.582483279, 6.62292), (12.5, 25, 25, 25, 12.5), (1, 100 / 504)),
    "B": (WITH_GAP, (3, 120, 20, 16.6666666667, 6.1804), (0, 0, 100, 0, 0), (1, 100 * 3 / 4032)),
    "C": (
        evenly(WAVE),
        (4032, 151.1609623016, 55.9049955530, 36.9837520890, 6.9257702183),
        (3.1001984127, 5.7043650794, 56.2003968254, 33.6805555556, 1.3144841270),
        (14, 100),
    ),
    "D": (
        WITHOUT_DAY_5,
        (3744, 151.0405982906, 55.3259784098, 36.6298723893, 6.9228911111),
        (3.3386752137, 5.6089743590, 56.7307692308, 32.9059829060, 1.4155982906),
        (13, 92.8571428571),
    ),
    "E": (
        DAYS_2_TO_11,
        (2880, 147.90625, 54.4087187795, 36.7859497347, 6.8479175),
        (2.8472222222, 6.8402777778, 57.9861111111, 31.25, 1.0763888889),
        (10, 71.4285714286),
    ),
}


def shares(found: Metrics) -> list[float]:
    return [float(share) for share in found.ranges]


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    readings, numbers, ranges, wear = VECTORS[name]
    found = calculated(rows_of(readings))
    assert found.variance is not None
    assert found.readings == numbers[0]
    calculated_numbers = (float(found.mean), math.sqrt(found.variance), found.cv, float(found.gmi))
    assert calculated_numbers == pytest.approx(numbers[1:], abs=1e-6)
    assert [float(share) for share in found.ranges] == pytest.approx(ranges, abs=1e-6)
    assert (found.days_of_wear, float(found.active)) == pytest.approx(wear, abs=1e-6)


@pytest.mark.parametrize(
    ("mean", "gmi"),
    [(100, 5.7), (125, 6.3), (150, 6.9), (175, 7.5), (200, 8.1), (225, 8.7), (250, 9.3), (275, 9.9), (300, 10.5)],
)
def test_gmi_table_of_the_publication(mean: int, gmi: float) -> None:
    found = calculated(rows_of(evenly([mean, mean])))
    assert round(float(found.gmi), 1) == gmi


@pytest.mark.parametrize(
    ("unit", "decimals", "first_of_range"),
    [
        ("mg/dL", 0, ("54", "70", "181", "251")),
        ("mg/dL", 1, ("54.0", "70.0", "180.1", "250.1")),
        ("mmol/L", 0, ("3", "4", "11", "14")),
        ("mmol/L", 1, ("3.0", "3.9", "10.1", "14.0")),
        ("mmol/L", 2, ("3.00", "3.90", "10.01", "13.91")),
    ],
)
def test_limits_of_the_ranges(unit: str, decimals: int, first_of_range: tuple[str, ...]) -> None:
    scale = Scale.of(unit, decimals, None, None)
    for index, text in enumerate(first_of_range, 1):
        raw = int(Decimal(text).scaleb(decimals))
        assert (range_of(raw - 1, scale.limits()), range_of(raw, scale.limits())) == (index - 1, index)


@pytest.mark.parametrize(
    ("unit", "decimals", "lower", "upper", "low", "high"),
    [
        ("mg/dL", 0, "40", "400", 39, 401),
        ("mg/dL", 0, None, None, 39, 401),
        ("mmol/L", 1, "2.2", "22.2", 21, 223),
        ("mmol/L", 1, None, None, 21, 223),
        ("mg/dL", 1, "39.6", "400.5", 395, 4006),
    ],
)
def test_values_beyond_the_limits(
    unit: str, decimals: int, lower: str | None, upper: str | None, low: int, high: int
) -> None:
    limits = [None if limit is None else Decimal(limit) for limit in (lower, upper)]
    scale = Scale.of(unit, decimals, *limits)
    row = {"unit": unit, "decimals": decimals, "lower_limit": limits[0], "upper_limit": limits[1]}
    assert Scale.of_row(row) == scale
    assert (scale.number(LOW), scale.number(HIGH), scale.number(7)) == (low, high, 7)
    assert (range_of(low, scale.limits()), range_of(high, scale.limits())) == (0, 4)


def test_low_and_high_count_in_ranges_mean_and_activity() -> None:
    found = calculated(rows_of(evenly([LOW, 100, HIGH, 60])), days=4 * 5 / 1440)
    assert found.mean == Fraction(39 + 100 + 401 + 60, 4)
    assert shares(found) == [25, 25, 25, 0, 25]
    assert found.active == 100


def test_low_counts_beside_its_own_number() -> None:
    """A sensor that measures down to 40 can have said 39 before its limits were known."""
    found = calculated(rows_of(evenly([LOW, 39, 102, 39])), days=4 * 5 / 1440)
    assert (found.readings, found.mean) == (4, Fraction(3 * 39 + 102, 4))
    assert found.active == 100


def test_millimoles_are_judged_as_measured_and_converted_for_the_mean() -> None:
    # 10.0 mmol/L is 180.156 mg/dL and 13.9 is 250.4: judged after conversion, both would be one range too high
    found = calculated(rows_of(evenly([30, 39, 100, 139]), unit="mmol/L", decimals=1))
    assert shares(found) == [0, 25, 50, 25, 0]
    assert found.mean_mmol == Fraction("7.7")
    assert found.mean == Fraction("7.7") * MG_PER_MMOL
    assert found.cv == pytest.approx(100 * stdev([3, 3.9, 10, 13.9]) / 7.7)
    assert found.gmi == Fraction("3.31") + Fraction("0.02392") * found.mean


def test_each_reading_weighs_its_sampling_period() -> None:
    slow = rows_of(evenly([100] * 12), sensor_no=1)
    fast = rows_of(evenly([200] * 60, MINUTE, START + HOUR), MINUTE, sensor_no=2, sensor_started_ms=START + HOUR)
    found = calculated([*slow, *fast], days=2 / 24)
    assert (found.readings, float(found.mean), float(found.active)) == (72, 150, 100)
    assert shares(found) == [0, 0, 50, 50, 0]
    # unbiased under reliability weights: 5 twelve times, 1 sixty times
    assert found.variance == pytest.approx((60 * 50**2 * 2) / (120 - (12 * 25 + 60) / 120))


def test_mixed_units_and_equal_periods_are_plain_formulas() -> None:
    values = [5.5, 6.1, 12.3]
    first = rows_of(evenly([100, 110, 120, 130]), sensor_no=1)
    second = rows_of(
        evenly([55, 61, 123], start_ms=START + HOUR),
        unit="mmol/L", decimals=1, sensor_no=2, sensor_started_ms=START + HOUR,
    )  # fmt: skip
    all_values = [100, 110, 120, 130, *(value * 18.0156 for value in values)]
    found = calculated([*first, *second])
    assert float(found.mean) == pytest.approx(fmean(all_values))
    assert found.cv == pytest.approx(100 * stdev(all_values) / fmean(all_values))


def test_a_single_reading_has_no_variation() -> None:
    found = calculated(rows_of(evenly([100])))
    assert found.mean == 100
    assert found.variance is None
    assert found.cv is None
    assert calculated(rows_of(evenly([0, 0]), lower_limit=Decimal(0))).cv is None


def test_nothing_counts() -> None:
    assert metrics([], DAY, BERLIN) is None


def days_of_wear(times: list[int], zone: Any = BERLIN, span_ms: int = DAY) -> int:
    return wear([(time, 100) for time in times], zone, span_ms).days_of_wear


def wear(readings: list[tuple[int, int]], zone: Any, span_ms: int) -> Metrics:
    return calculated(rows_of(readings, span_ms=span_ms), days=30, from_ms=START - 15 * DAY, zone=zone)


def test_days_of_wear_are_calendar_days_of_the_zone() -> None:
    evening = START + 21 * HOUR + 50 * MINUTE  # 23:50 in Berlin, 2025-09-01
    assert days_of_wear([evening, evening + PERIOD]) == 1
    assert days_of_wear([evening, evening + 2 * PERIOD]) == 2
    assert days_of_wear([evening, evening + 2 * PERIOD], ZoneInfo("UTC")) == 1


def test_days_of_wear_inside_of_long_chunks() -> None:
    week = [START + 12 * HOUR, START + 14 * HOUR, START + 3 * DAY, START + 6 * DAY]
    assert days_of_wear(week, span_ms=7 * DAY) == 3


def test_days_of_wear_begin_with_the_first_reading_of_a_chunk_that_began_the_day_before() -> None:
    rows = rows_of([(START + 23 * HOUR, 100)], from_ms=START)
    assert calculated(rows, days=30, from_ms=START - 15 * DAY, zone=BERLIN).days_of_wear == 1


@pytest.mark.parametrize(("day", "hours"), [(55, 25), (-155, 23)])  # 2025-10-26 and 2025-03-30
def test_days_of_wear_when_the_clocks_change(day: int, hours: int) -> None:
    midnight = START + day * DAY - (2 if hours == 25 else 1) * HOUR  # 2025-10-26T00:00 and 2025-03-30T00:00
    inside = [midnight, midnight + hours * HOUR - PERIOD]
    for times, expected in ((inside, 1), ([*inside, midnight + hours * HOUR], 2), ([midnight - PERIOD, *inside], 2)):
        found = calculated(rows_of([(time, 100) for time in times]), days=3, from_ms=midnight - DAY, zone=BERLIN)
        assert found.days_of_wear == expected


def test_activity_is_never_more_than_all_of_the_period() -> None:
    assert calculated(rows_of(evenly([100] * 289)), days=1 + 1 / 86_400).active == 100
    assert calculated(rows_of(evenly([100] * 144)), days=1).active == 50
