"""Which reading a slot shows, and how SampledData.data is written."""

from __future__ import annotations

import pytest
from hypothesis import given

from ddr.series.grid import slot_of
from ddr.series.packing import ERROR, HIGH, LOW, Reading, encode
from ddr.series.slots import data, place, text, winners
from tests.series.model import MINUTE, START, reading_lists

PERIOD = 5 * MINUTE


@pytest.mark.parametrize(
    ("readings", "shown"),
    [
        ([(0, 1), (1000, 2)], 1),  # the nearest
        ([(PERIOD - 9000, 1), (PERIOD + 1000, 2)], 2),
        ([(PERIOD - 1000, 9), (PERIOD + 1000, 1)], 9),  # equally near: the earlier
        ([(PERIOD, 3), (PERIOD, 4)], 3),  # same time: the smaller
    ],
)
def test_one_of_two_readings_in_a_slot_is_shown(readings: list[Reading], shown: int) -> None:
    assert [raw for _, raw in winners(readings, 0, PERIOD).values()] == [shown]


def test_halfway_belongs_to_the_later_slot() -> None:
    assert [slot_of(offset, PERIOD) for offset in (-PERIOD // 2, PERIOD // 2 - 1, PERIOD // 2)] == [0, 0, 1]


def test_slots_without_reading_are_errors_and_explicit_errors_count_as_filled() -> None:
    packed = encode([(0, 5), (2 * PERIOD, 6), (3 * PERIOD, ERROR)], 0, PERIOD)
    assert place(*packed, PERIOD) == ([5, ERROR, 6, ERROR], 3)


@given(reading_lists)
def test_placing_agrees_with_the_rule_for_winners(readings: list[Reading]) -> None:
    ordered = [reading for reading in sorted(set(readings)) if reading[0] >= START]
    shown = winners(ordered, START, PERIOD)
    slots, filled = place(*encode(ordered, START, PERIOD), PERIOD)
    assert filled == len(shown)
    assert len(slots) == max(shown) + 1
    assert {slot: raw for slot, raw in enumerate(slots) if slot in shown} == {s: raw for s, (_, raw) in shown.items()}
    assert all(raw == ERROR for slot, raw in enumerate(slots) if slot not in shown)


@pytest.mark.parametrize(
    ("raw", "decimals", "written"),
    [
        (123, 0, "123"),
        (55, 1, "5.5"),
        (5, 2, "0.05"),
        (-5, 1, "-0.5"),
        (100, 1, "10.0"),
        (LOW, 1, "L"),
        (HIGH, 0, "U"),
        (ERROR, 2, "E"),
    ],
)
def test_values_are_written_exactly(raw: int, decimals: int, written: str) -> None:
    assert text(raw, decimals) == written


def test_data_separates_values_by_one_blank() -> None:
    assert data([100, ERROR, LOW, 7], 0) == "100 E L 7"
