"""The ambulatory glucose profile against the standard library's percentiles."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from statistics import quantiles
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.profile import TimeOfDay, glucose_profiles
from ddr.series.selection import counting
from tests.series.traces import DAY, HOUR, MINUTE, PERIOD, START, Row, evenly, rows_of, worn

# The nights in which the clocks of Lord Howe Island, Europe and Newfoundland change.
CHANGES = [
    int(datetime.fromisoformat(f"{day}T00:00Z").timestamp()) * 1000
    for day in ("2025-10-05", "2025-10-26", "2025-11-02", "2026-03-08", "2026-03-29", "2026-04-05")
]
UTC, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")


def profile(rows: list[Row], zone: ZoneInfo = UTC, step: int = 15) -> list[TimeOfDay]:
    (found,) = glucose_profiles(counting(rows, 0, 1 << 50), zone, step)
    return found


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


def test_several_profiles_are_those_of_each_step() -> None:
    rows = rows_of(worn(3))
    assert glucose_profiles(counting(rows, 0, 1 << 50), BERLIN, 15, 60) == [profile(rows, BERLIN, n) for n in (15, 60)]


def test_a_step_is_a_quarter_of_an_hour() -> None:
    rows = rows_of([(START + minute * MINUTE, 100) for minute in (0, 15, 30)])
    assert [one.minute for one in profile(rows)] == [0, 15, 30]


def test_a_single_reading_is_every_percentile() -> None:
    assert profile(rows_of(evenly([120]))) == [TimeOfDay(0, 1, (120.0,) * 5)]


def test_nothing_counts() -> None:
    assert profile([]) == []


def test_times_of_day_are_those_of_the_clock() -> None:
    # 2025-10-26: the hour from 02:00 comes twice, 00:30 and 01:30 UTC are both half past two
    night = START + 55 * DAY
    found = profile(rows_of([(night + 30 * MINUTE, 100), (night + 90 * MINUTE, 200)]), BERLIN)
    assert [(one.minute, one.readings, one.percentiles[2]) for one in found] == [(150, 2, 150.0)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"])
@given(
    start=st.builds(int.__add__, st.sampled_from(CHANGES), st.integers(-DAY, DAY)),
    every=st.sampled_from([MINUTE, PERIOD, 15 * MINUTE]),
    step=st.sampled_from([15, 60]),
)
def test_every_reading_is_where_the_clock_shows_it(zone: str, start: int, every: int, step: int) -> None:
    """Also where clocks are half an hour or a quarter apart from others, and on days on which they change."""
    readings = evenly([100] * (DAY // every // 2), every, start)
    expected: Counter[int] = Counter()
    for time, _ in readings:
        local = datetime.fromtimestamp(time // 1000, ZoneInfo(zone))
        minute = local.hour * 60 + local.minute
        expected[minute - minute % step] += 1
    found = profile(rows_of(readings, every), ZoneInfo(zone), step)
    assert {one.minute: one.readings for one in found} == expected


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


def test_sensors_of_both_units_add_up() -> None:
    old, new = rows_of([(START, 100)]), rows_of([(START + DAY, 100)], unit="mmol/L", decimals=1, sensor_no=2)
    (found,) = profile([*old, *new])
    assert (found.percentiles[0], found.percentiles[4]) == pytest.approx((104.0, 176.2), abs=0.1)


def test_millimoles_are_converted() -> None:
    (found,) = profile(rows_of([(START, 55)], unit="mmol/L", decimals=1))
    assert found.percentiles[0] == pytest.approx(5.5 * 18.0156)
