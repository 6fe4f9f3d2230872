"""Which readings count: valid, not sent twice, within the period, calibrated, of overlapping sensors the newest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.packing import ERROR, HIGH, LOW, Reading
from ddr.series.slots import place
from tests.series.traces import DAY, HOUR, MINUTE, PERIOD, START, Row, calculated, counted, evenly, rows_of


def test_sensor_errors_and_missing_slots_do_not_count() -> None:
    rows = rows_of([(START, 100), (START + PERIOD, ERROR), (START + 3 * PERIOD, LOW), (START + 4 * PERIOD, HIGH)])
    assert [raw for _, raw in counted(rows)] == [100, LOW, HIGH]


def test_what_was_sent_twice_counts_once() -> None:
    readings = evenly([100] * 12)
    again = [(time + 2_000, 300) for time, _ in readings]
    assert counted(rows_of([*readings, *again])) == readings


@given(
    st.lists(
        st.tuples(st.integers(0, 4 * HOUR), st.sampled_from([ERROR, LOW, 100, 200, 300])), min_size=1, max_size=80
    ),
    st.sampled_from([HOUR, DAY]),
)
def test_what_a_chunk_shows_is_what_counts(offsets: list[Reading], span_ms: int) -> None:
    rows = rows_of(sorted({(START + at, raw) for at, raw in offsets}), span_ms=span_ms)
    in_chunks = [raw for row in rows for raw in place(row["times"], row["vals"], PERIOD)[0] if raw != ERROR]
    assert [raw for _, raw in counted(rows)] == in_chunks


def test_of_two_in_one_slot_the_nearest_counts_as_in_the_chunk() -> None:
    rows = rows_of([(START, 100), (START + 200_000, 300), (START + PERIOD, 110), (START + 2 * PERIOD, 120)])
    assert [raw for _, raw in counted(rows)] == [100, 110, 120]


def test_chunks_without_readings() -> None:
    assert counted(rows_of([(START, 100), (START + 3 * DAY, 100)])) == [(START, 100), (START + 3 * DAY, 100)]
    assert counted(rows_of([(START, ERROR)])) == []


def test_the_period_cuts_chunks() -> None:
    rows, times = rows_of(evenly(range(100, 388))), [time for time, _ in evenly(range(100, 388))]
    assert [time for time, _ in counted(rows, times[3], times[9])] == times[3:9]
    assert [time for time, _ in counted(rows, times[3] + 1, times[9] + 1)] == times[4:10]
    assert counted(rows, times[-1] + 1) == []
    assert [time for time, _ in counted(rows, times[0], times[-1])] == times[:-1]


def test_readings_of_one_sensor_count_beside_each_other_however_near() -> None:
    """The last of a chunk and the first of the next one, which are shown in two slots."""
    bound = START + HOUR - PERIOD // 2
    readings = [(START, 100), (bound - 1000, 110), (bound, 120)]
    rows = rows_of(readings, span_ms=HOUR)
    assert len(rows) == 2 and counted(rows) == readings


@pytest.mark.parametrize("state", ["not-calibrated", "calibration-required"])
def test_readings_without_calibration_count_only_when_wanted(state: str) -> None:
    calibrated = rows_of(evenly([100] * 12, start_ms=START + HOUR))
    rows = [*rows_of(evenly([200] * 12), calibration_state=state), *calibrated]
    assert {raw for _, raw in counted(rows)} == {100}
    assert {raw for _, raw in counted(rows, uncalibrated=True)} == {100, 200}


@pytest.mark.parametrize("state", ["calibrated", "unspecified", None])
def test_sensors_that_are_calibrated_or_need_it_not_count(state: str | None) -> None:
    assert len(counted(rows_of(evenly([100] * 12), calibration_state=state))) == 12


def older(readings: list[Reading], **sensor: Any) -> list[Row]:
    return rows_of(readings, sensor_no=1, sensor_started_ms=START, **sensor)


def newer(readings: list[Reading], **sensor: Any) -> list[Row]:
    return rows_of(readings, **{"sensor_no": 2, "sensor_started_ms": START + HOUR, **sensor})


def test_the_newest_sensor_wins_where_sensors_overlap() -> None:
    rows = [*older(evenly([100] * 36)), *newer(evenly([200] * 36, start_ms=START + HOUR + 70_000))]
    found = counted(rows)
    assert found == [*evenly([100] * 12), *evenly([200] * 36, start_ms=START + HOUR + 70_000)]
    assert counted(reversed(rows)) == found
    assert calculated(rows, days=4 / 24).active == 100


def test_the_older_sensor_fills_gaps_of_the_newer_one() -> None:
    kept = [reading for n, reading in enumerate(evenly([200] * 36, start_ms=START)) if not 12 <= n < 24]
    found = counted([*older(evenly([100] * 36)), *newer(kept)])
    assert [raw for _, raw in found] == [200] * 12 + [100] * 12 + [200] * 12


@pytest.mark.parametrize("offset_ms", [0, 60_000, 149_000, 150_000, 151_000, 299_000])
def test_a_clock_that_runs_unevenly_lets_nothing_count_twice(offset_ms: int) -> None:
    uneven = [(time + (-1000, 0, 1000, 2000)[n % 4], 200) for n, (time, _) in enumerate(evenly([200] * 100))]
    rows = [*older(evenly([100] * 98, start_ms=START + PERIOD + offset_ms)), *newer(uneven)]
    assert {raw for _, raw in counted(rows)} == {200}


@pytest.mark.parametrize(
    ("offset_ms", "counts"), [(-225_001, True), (-225_000, False), (225_000, False), (225_001, True)]
)
def test_a_reading_speaks_for_three_quarters_of_a_period_around_it(offset_ms: int, counts: bool) -> None:
    rows = [*older([(START + HOUR + offset_ms, 100)]), *newer([(START + HOUR, 200)])]
    assert (100 in [raw for _, raw in counted(rows)]) is counts


def test_a_missing_reading_is_filled() -> None:
    rows = [*older(evenly([100] * 12)), *newer([reading for n, reading in enumerate(evenly([200] * 12)) if n != 6])]
    assert [raw for _, raw in counted(rows)] == [200] * 6 + [100] + [200] * 5


def test_what_does_not_count_of_the_newer_sensor_takes_nothing() -> None:
    first = older(evenly([100] * 12))
    assert {raw for _, raw in counted([*first, *newer(evenly([ERROR] * 12))])} == {100}
    assert {raw for _, raw in counted([*first, *newer(evenly([200] * 12), calibration_state="not-calibrated")])} == {
        100
    }


def test_of_sensors_that_began_together_the_one_registered_last_wins() -> None:
    rows = [*older(evenly([100] * 12)), *newer(evenly([200] * 12), sensor_started_ms=START)]
    assert {raw for _, raw in counted(rows)} == {200}


def test_sensors_with_different_periods() -> None:
    fast = newer(evenly([200] * 60, MINUTE, START + HOUR), period_ms=MINUTE)
    found = calculated([*older(evenly([100] * 24)), *fast], days=2 / 24)
    assert (found.readings, float(found.mean), float(found.active)) == (12 + 60, 150, 100)
