"""A series is cut again: a new one begins, an ended one lacks nothing, and what does not belong to it is withdrawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddr.series.epoch import Chunk, Epoch, empty_chunk
from ddr.series.merge import Merge, merge
from ddr.series.packing import Reading
from ddr.series.recut import recut
from ddr.series.status import State
from tests.series.model import GRID, HOUR, MINUTE, START, epoch_of

PERIOD = 5 * MINUTE
HOURLY: list[Reading] = [(START + hour * HOUR, hour) for hour in range(3)]
NOW = START + 3 * HOUR


def ended(hours: int, expected_hours: int | None = None) -> Epoch:
    """An epoch that was cut after so many hours, from which nothing is expected after `expected_hours`."""
    until_ms = START + hours * HOUR
    expected_ms = until_ms if expected_hours is None else START + expected_hours * HOUR
    return replace(epoch_of(), grid=replace(GRID, until_ms=until_ms), expected_until_ms=expected_ms)


def left_by_retention(k: int) -> Chunk:
    """The chunk that is left as a place when those before it are gone."""
    return empty_chunk(k, START + k * HOUR, State("f", 2, START))


@pytest.mark.parametrize(("now_ms", "status"), [(NOW, "p"), (NOW + 48 * HOUR, "f")])
def test_of_a_new_series_nobody_saw_anything(now_ms: int, status: str) -> None:
    """Not even the empty chunk between two readings, which would have been shown by time."""
    merged = recut(epoch_of(), None, [], [HOURLY[0], HOURLY[2]], now_ms)
    assert [(chunk.k, chunk.filled, chunk.state) for chunk in merged.changed] == [
        (k, filled, State(status, 1, now_ms)) for k, filled in enumerate((1, 0, 1))
    ]
    assert (merged.tail, merged.accepted, merged.hidden) == (merged.changed[-1], set(), set())


def test_a_new_series_without_readings_is_nothing_yet() -> None:
    assert recut(epoch_of(), None, [], [], NOW + 48 * HOUR) == Merge([], None, set(), set())


@pytest.mark.parametrize(("epoch", "chunks"), [(ended(5), 5), (ended(5, 5), 5), (ended(5, 3), 3), (ended(2, 4), 2)])
def test_a_series_that_is_over_lacks_nothing(epoch: Epoch, chunks: int) -> None:
    merged = recut(epoch, None, [], HOURLY[:1], START + MINUTE)
    assert [(chunk.k, chunk.start_ms) for chunk in merged.changed] == [(k, START + k * HOUR) for k in range(chunks)]


def test_what_is_no_longer_part_of_a_series_is_withdrawn_once() -> None:
    stored = merge(epoch_of(), (), HOURLY, START).changed
    former = epoch_of(tail=stored[-1])
    over = ended(1, 1)
    merged = recut(over, former, stored, HOURLY[:1], NOW)
    assert merged.changed == [empty_chunk(k, START + k * HOUR, State("e", 2, NOW)) for k in (1, 2)]
    assert merged.tail == stored[0]
    after = [stored[0], *merged.changed]
    again = recut(over, replace(over, tail_k=0, tail_start_ms=START), after, HOURLY[:1], NOW + HOUR)
    assert again == Merge([], stored[0], set(), set())


def test_what_time_made_final_is_withdrawn_as_the_version_after_that() -> None:
    stored = merge(epoch_of(), (), HOURLY, START).changed
    late = START + 60 * HOUR
    merged = recut(ended(1, 1), epoch_of(tail=stored[-1]), stored, HOURLY[:1], late)
    assert [chunk.state for chunk in merged.changed if chunk.k in (1, 2)] == [State("e", 3, late)] * 2


def test_an_empty_chunk_that_was_shown_by_time_is_withdrawn_under_its_number() -> None:
    stored = merge(epoch_of(), (), HOURLY, START).changed
    merged = recut(ended(3, 3), epoch_of(tail=stored[-1]), stored, HOURLY, NOW + 30 * MINUTE)
    assert [(chunk.k, chunk.start_ms, chunk.state) for chunk in merged.changed] == [
        (3, START + 3 * HOUR, State("e", 2, NOW + 30 * MINUTE))
    ]


def test_the_first_chunk_that_is_left_stays_where_it_is() -> None:
    place = left_by_retention(3)
    epoch = epoch_of(tail=place)
    assert recut(epoch, epoch, [place], [], place.start_ms) == Merge([], place, set(), set())
    first = GRID.bound(place.start_ms)
    merged = recut(epoch, epoch, [place], [(first, 1)], place.start_ms)
    assert [(chunk.k, chunk.start_ms, chunk.filled) for chunk in merged.changed] == [(4, first, 1)]
    assert merged.tail == merged.changed[0]


def test_a_reading_within_the_first_chunk_that_is_left_is_put_into_it() -> None:
    place = left_by_retention(3)
    epoch = epoch_of(tail=place)
    time = GRID.bound(place.start_ms) - 1
    merged = recut(epoch, epoch, [place], [(time, 1)], place.start_ms)
    (one,) = [chunk for chunk in merged.changed if chunk.filled]
    assert (one.k, one.last_ms) == (3, time)


def test_a_first_chunk_of_all_is_cut_like_any_other() -> None:
    stored = merge(epoch_of(), (), HOURLY, START).changed
    epoch = epoch_of(tail=stored[-1])
    merged = recut(epoch, epoch, stored, [(START + PERIOD + 2000, 9), *HOURLY[1:]], NOW)
    assert [(chunk.k, chunk.start_ms, chunk.version) for chunk in merged.changed] == [(0, START + 2000, 2)]


def test_the_first_chunk_of_all_gets_empty_when_its_readings_are_taken_back() -> None:
    stored = merge(epoch_of(), (), HOURLY, START).changed
    epoch = epoch_of(tail=stored[-1])
    merged = recut(epoch, epoch, stored, HOURLY[1:], NOW)
    assert merged.changed == [empty_chunk(0, START, State("p", 2, NOW))]


def test_a_place_beyond_the_end_of_the_series_is_none() -> None:
    place = left_by_retention(3)
    for hours in (2, 3):
        merged = recut(ended(hours), epoch_of(tail=place), [place], [], place.start_ms)
        assert [(chunk.k, chunk.status) for chunk in merged.changed if chunk.k == 3] == [(3, "e")]


def test_the_last_chunk_is_withdrawn_that_gets_empty_where_nothing_was_expected() -> None:
    """It is not there without its readings, whatever came and went."""
    stored = merge(epoch_of(), (), HOURLY, START).changed
    epoch = replace(epoch_of(tail=stored[-1]), expected_until_ms=START + 2 * HOUR)
    merged = recut(epoch, epoch, stored, HOURLY[:2], NOW)
    assert merged.changed == [empty_chunk(2, START + 2 * HOUR, State("e", 2, NOW))]
