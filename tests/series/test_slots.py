"""Which reading a slot shows, and how SampledData.data is written."""

from __future__ import annotations

import pytest
from hypothesis import given

from ddr.series.grid import slot_of
from ddr.series.packing import ERROR, HIGH, LOW, Reading, encode
from ddr.series.slots import _Texts, crowded, data, place, shown, text, winners
from tests.series.model import MINUTE, START, reading_lists

PERIOD = 5 * MINUTE


@pytest.mark.parametrize(
    ("readings", "shown"),
    [
        ([(0, 1), (1000, 2)], 1),  # the nearest
        ([(PERIOD - 9000, 1), (PERIOD + 1000, 2)], 2),
        ([(PERIOD - 1000, 9), (PERIOD + 1000, 1)], 9),  # equally near: the earlier
        ([(PERIOD, 3), (PERIOD, 4)], 3),  # same time: the smaller
        ([(PERIOD, ERROR), (PERIOD, 4)], 4),  # one that failed hides no value
        ([(0, ERROR), (2000, 2), (3000, LOW)], 2),
        ([(-2000, 2), (0, ERROR), (1000, LOW)], LOW),
        ([(1000, ERROR), (2000, ERROR)], ERROR),
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
        (0, 0, "0"),
        (0, 1, "0.0"),
        (100, 1, "10.0"),
        (LOW, 1, "L"),
        (HIGH, 0, "U"),
        (ERROR, 2, "E"),
    ],
)
def test_values_are_written_exactly(raw: int, decimals: int, written: str) -> None:
    assert text(raw, decimals) == _Texts(decimals)[raw] == written  # the latter has nothing written before


def test_a_text_that_was_written_is_remembered() -> None:
    texts = _Texts(1)
    assert 55 not in texts and texts[55] is texts[55]


def test_data_separates_values_by_one_blank() -> None:
    assert data([100, ERROR, LOW, 7], 0) == "100 E L 7"


@pytest.mark.parametrize(
    ("times", "two_in_one"),
    [
        ([], False),
        ([0], False),
        ([0, PERIOD + 1000], False),
        ([0, PERIOD, 2 * PERIOD + 1], False),
        ([0, 1], True),
        ([0, PERIOD, 2 * PERIOD, 2 * PERIOD + 1], True),
        ([PERIOD - 1000, PERIOD + 1000, 2 * PERIOD + 1], True),
    ],
)
def test_a_chunk_is_crowded_when_two_share_a_slot(times: list[int], two_in_one: bool) -> None:
    readings = [(time, number) for number, time in enumerate(times)]
    packed = encode(readings, 0, PERIOD)
    assert crowded(packed[0], PERIOD) is two_in_one
    assert (len(shown(*packed, 0, PERIOD)) < len(times)) is two_in_one


@pytest.mark.parametrize(
    ("first", "second", "raw"),
    [(PERIOD - 1001, PERIOD + 1000, 2), (PERIOD - 1000, PERIOD + 1000, 1), (PERIOD - 1000, PERIOD + 1001, 1)],
)
def test_a_millisecond_decides_which_of_two_is_shown(first: int, second: int, raw: int) -> None:
    packed = encode([(first, 1), (second, 2)], 0, PERIOD)
    assert place(*packed, PERIOD) == ([ERROR, raw], 1)
    assert [value for _, value in shown(*packed, 0, PERIOD)] == [raw]


def test_times_of_shown_readings_are_exact() -> None:
    readings = [(START + 1, 5), (START + 20, 6), (START + PERIOD + 7, 8)]
    assert shown(*encode(readings, START, PERIOD), START, PERIOD) == [readings[0], readings[2]]
