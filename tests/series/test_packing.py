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
