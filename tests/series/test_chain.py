"""Chaining: chunk starts follow the sensor's clock, and only the set of readings counts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.chain import cut
from ddr.series.grid import Grid, grid_problem, slot_of
from ddr.series.packing import Reading
from tests.series.model import GRID, HOUR, MINUTE, START, Recorder, drifting, reading_lists

DAY_GRID = Grid(START, 5 * MINUTE, 24 * HOUR)


def full(readings: list[Reading], grid: Grid = GRID) -> list[tuple[int, int, list[Reading]]]:
    return [(part.k, part.start_ms, list(part.readings)) for part in cut(sorted(set(readings)), grid)]


@pytest.mark.parametrize("drift_ms", [-40, -10, 0, 10, 40])
def test_a_drifting_clock_costs_seconds_not_minutes(drift_ms: int) -> None:
    readings = drifting(14 * 288, drift_ms=drift_ms)
    errors = [
        abs(time - part.start_ms - slot_of(time - part.start_ms, DAY_GRID.period_ms) * DAY_GRID.period_ms)
        for part in cut(readings, DAY_GRID)
        for time, _ in part.readings
    ]
    assert max(errors) <= 15_000
    assert len(errors) == len(readings)


def test_a_gap_of_whole_chunks_gives_empty_chunks_of_the_expected_starts() -> None:
    parts = full([(START + 2000, 1), (START + 3 * HOUR + 5000, 2)])
    assert [(k, start - START, len(readings)) for k, start, readings in parts] == [
        (0, 2000, 1),
        (1, HOUR + 2000, 0),
        (2, 2 * HOUR + 2000, 0),
        (3, 3 * HOUR + 5000, 1),
    ]


def test_without_a_reading_there_is_no_chunk_whenever_the_series_began() -> None:
    assert full([]) == full([], Grid(0, 5 * MINUTE, HOUR)) == []


def test_the_first_chunk_never_starts_before_its_series() -> None:
    assert full([(START + 4 * MINUTE, 1)])[0][1] == START + 4 * MINUTE


def test_fractions_of_a_second_do_not_move_a_start() -> None:
    assert full([(START + 1999, 1)])[0][1] == START + 1000


@given(reading_lists)
def test_every_reading_is_in_one_chunk_and_near_its_slot(readings: list[Reading]) -> None:
    parts = full(readings)
    assert [reading for part in parts for reading in part[2]] == sorted(set(readings))
    for k, start, members in parts:
        assert start % 1000 == 0
        assert k == parts.index((k, start, members))
        for time, _ in members:
            slot = slot_of(time - start, GRID.period_ms)
            assert 0 <= slot < GRID.slots
            assert abs(time - start - slot * GRID.period_ms) <= GRID.period_ms // 2
    for (_, one, _), (_, next_one, _) in pairwise(parts):
        assert abs(next_one - one - GRID.span_ms) <= GRID.period_ms // 2 + 1000


@given(st.data(), reading_lists)
def test_any_order_and_batches_give_the_same_chunks(data: st.DataObject, readings: list[Reading]) -> None:
    whole, parts = Recorder(), Recorder()
    whole.upload(readings)
    left = data.draw(st.permutations(readings + readings[:10]))
    while left:
        size = data.draw(st.integers(1, len(left)))
        parts.upload(left[:size])
        left = left[size:]
    assert parts.content() == whole.content()
    assert [(k, start) for k, start, _, _ in whole.content()] == [(k, start) for k, start, _ in full(readings)]


@pytest.mark.parametrize(
    ("period_ms", "span_ms", "word"),
    [
        (0, HOUR, "longer than 2"),
        (7000, HOUR, "multiple"),
        (5 * MINUTE, MINUTE, "at least one"),
        (MINUTE, 15 * 24 * HOUR, "14 days"),
    ],
)
def test_impossible_grids_are_named(period_ms: int, span_ms: int, word: str) -> None:
    assert word in (grid_problem(period_ms, span_ms) or "")


def test_possible_grid_has_no_problem() -> None:
    assert grid_problem(5 * MINUTE, 24 * HOUR) is None
