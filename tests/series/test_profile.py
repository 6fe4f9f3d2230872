"""The ambulatory glucose profile against the standard library's percentiles."""

from __future__ import annotations

from collections import defaultdict
from statistics import quantiles
from zoneinfo import ZoneInfo

import pytest

from ddr.series.profile import TimeOfDay, glucose_profile
from ddr.series.selection import counting
from tests.series.traces import DAY, HOUR, MINUTE, PERIOD, START, Row, evenly, rows_of, worn

UTC, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")


def profile(rows: list[Row], zone: ZoneInfo = UTC, step: int = 15) -> list[TimeOfDay]:
    return glucose_profile(counting(rows, 0, 1 << 50), zone, step)


@pytest.mark.parametrize("step", [5, 15, 60])
def test_percentiles_of_every_time_of_day(step: int) -> None:
    readings = worn(3)
    values = defaultdict(list)
    for time, raw in readings:
        minute = time // MINUTE % 1440
        values[minute - minute % step].append(raw)
    found = profile(rows_of(readings), step=step)
    assert [one.minute for one in found] == sorted(values)
    assert {type(one.minute) for one in found} == {int}
    for one in found:
        measured = values[one.minute]
        assert one.readings == len(measured)
        twentieths = quantiles(measured * 2 if len(measured) == 1 else measured, n=20, method="inclusive")
        expected = [twentieths[number - 1] for number in (1, 5, 10, 15, 19)]
        assert one.percentiles == pytest.approx(expected)


def test_a_step_is_a_quarter_of_an_hour() -> None:
    rows = rows_of([(START + minute * MINUTE, 100) for minute in (0, 15, 30)])
    assert [one.minute for one in glucose_profile(counting(rows, 0, 1 << 50), UTC)] == [0, 15, 30]


def test_a_single_reading_is_every_percentile() -> None:
    assert profile(rows_of(evenly([120]))) == [TimeOfDay(0, 1, (120.0,) * 5)]


def test_nothing_counts() -> None:
    assert profile([]) == []


def test_times_of_day_are_those_of_the_clock() -> None:
    # 2025-10-26: the hour from 02:00 comes twice, 00:30 and 01:30 UTC are both half past two
    night = START + 55 * DAY
    found = profile(rows_of([(night + 30 * MINUTE, 100), (night + 90 * MINUTE, 200)]), BERLIN)
    assert [(one.minute, one.readings, one.percentiles[2]) for one in found] == [(150, 2, 150.0)]


def test_each_reading_weighs_its_sampling_period() -> None:
    slow = rows_of([(START + n * PERIOD, 100) for n in range(3)])
    fast = rows_of(
        [(START + DAY + n * MINUTE, 200) for n in range(5)], MINUTE, sensor_no=2, sensor_started_ms=START + HOUR
    )
    (found,) = profile([*slow, *fast])
    assert found.readings == 8
    assert found.percentiles[2] == quantiles([100] * 15 + [200] * 5, n=2, method="inclusive")[0]


@pytest.mark.parametrize("newer", ["slow", "fast"])
def test_equal_values_of_different_sensors_add_up(newer: str) -> None:
    slow = rows_of([(START + n * PERIOD, 100) for n in range(3)], sensor_started_ms=START + HOUR * (newer == "slow"))
    fast = rows_of(
        [(START + DAY + n * MINUTE, 200 if n else 100) for n in range(5)],
        MINUTE, sensor_no=2, sensor_started_ms=START + HOUR * (newer == "fast"),
    )  # fmt: skip
    for rows in ([*slow, *fast], [*fast, *slow]):
        (found,) = profile(rows)
        assert found.percentiles[2:4] == (100, 100), "16 of 20 minutes had 100"


def test_millimoles_are_converted() -> None:
    (found,) = profile(rows_of([(START, 55)], unit="mmol/L", decimals=1))
    assert found.percentiles[0] == pytest.approx(5.5 * 18.0156)
