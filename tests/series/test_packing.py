"""The packed form is exact, canonical and small."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.packing import ERROR, HIGH, LOW, Reading, decode, encode, encode_times, open_run
from tests.series.model import HOUR, MINUTE, START, drifting, reading_lists

PERIOD = 5 * MINUTE


@pytest.mark.parametrize(
    ("times", "packed"),
    [
        ([PERIOD], b"\x01"),
        ([PERIOD, 2 * PERIOD, 3 * PERIOD], b"\x03"),
        ([PERIOD * n for n in range(1, 130)], b"\x7f\x02"),
        ([PERIOD + 1000], b"\xc0"),
        ([PERIOD - 63_000, 2 * PERIOD], b"\x80\xfe"),
        ([PERIOD - 64_000], b"\xff\xe0\x99\x03\x00"),
        ([0], b"\xff\x00\x00\x00\x00"),
        ([PERIOD + 1], b"\xff\xe1\x93\x04\x00"),
        ([PERIOD + 64_000], b"\xff\xe0\x8d\x05\x00"),
    ],
)
def test_times_have_one_documented_form(times: list[int], packed: bytes) -> None:
    assert encode_times(times, PERIOD, 0) == packed


def test_values_keep_limits_and_errors() -> None:
    readings = [(0, LOW), (PERIOD, ERROR), (2 * PERIOD, -5), (3 * PERIOD, HIGH)]
    assert decode(*encode(readings, 0, PERIOD), 0, PERIOD) == readings


@given(reading_lists)
def test_round_trip(readings: list[Reading]) -> None:
    ordered = sorted(set(readings))
    assert decode(*encode(ordered, START, PERIOD), START, PERIOD) == ordered


@given(reading_lists, st.integers(0, 60))
def test_appended_bytes_equal_those_written_at_once(readings: list[Reading], at: int) -> None:
    ordered = [time for time, _ in sorted(set(readings))]
    head, rest = ordered[:at], ordered[at:]
    packed = encode_times(head, PERIOD, START)
    run = open_run(packed)
    added = encode_times(rest, PERIOD, head[-1] if head else START, run)
    assert packed[: len(packed) - (run > 0)] + added == encode_times(ordered, PERIOD, START)


def test_a_day_of_a_drifting_sensor_takes_less_than_three_bytes_per_reading() -> None:
    readings = drifting(288)
    times, vals = encode(readings, START, PERIOD)
    assert len(times) < 40
    assert len(times) + len(vals) < 2.2 * len(readings)
    assert readings[-1][0] < START + 24 * HOUR


@pytest.mark.parametrize(
    ("times", "run"),
    [
        (b"", 0),
        (b"\x03", 3),
        (b"\x7e", 126),
        (b"\x7f", 0),  # as long as a run can be
        (b"\x7f\x01", 1),
        (b"\x05\xc0", 0),
        (b"\xff\x05\x05\x05\x05", 0),  # bytes of a free step are no runs
        (b"\xff\xff\xff\x05\x00\x02", 2),
    ],
)
def test_an_append_may_lengthen_a_run_at_the_end(times: bytes, run: int) -> None:
    assert open_run(times) == run


def test_a_run_is_appended_to_up_to_its_greatest_length() -> None:
    assert encode_times([n * PERIOD for n in range(1, 4)], PERIOD, 0, 125) == b"\x7f\x01"


def test_times_and_values_that_do_not_belong_together_are_an_error_not_fewer_readings() -> None:
    for vals in (b"\1\0", b"\1\0\2\0\3\0"):
        with pytest.raises(ValueError):
            decode(b"\x02", vals, 0, PERIOD)
