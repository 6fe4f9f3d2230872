"""A single series: how it is read from its row; when one of its chunks is complete, over, overdue and shown empty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ddr.series.epoch import Epoch
from ddr.series.grid import Grid
from tests.series.model import HOUR, MINUTE, START, epoch_of

PERIOD, DELAY, DAY = 5 * MINUTE, 15 * MINUTE, 24 * HOUR
LAST = START + HOUR - 1000  # the last second of the first chunk
ROW: dict[str, Any] = {
    "from_ms": START, "period_ms": PERIOD, "span_ms": HOUR, "until_ms": None, "buffering_ms": DAY,
    "tail_k": 3, "tail_start_ms": START + 3 * HOUR,
}  # fmt: skip
ENDS = ("until_ms", "sensor_ended_ms", "device_ended_ms", "expiration_ms")


def test_an_epoch_has_what_its_row_says() -> None:
    joined = {"complete_until_ms": START + 1, "sensor_ended_ms": START + 8 * HOUR, "device_ended_ms": START + 9 * HOUR}
    row = ROW | joined | {"until_ms": START + 7 * HOUR, "expiration_ms": START + 6 * HOUR, "registered_ms": START + 2}
    assert Epoch.of(row, DELAY) == Epoch(
        Grid(START, PERIOD, HOUR, START + 7 * HOUR), DAY, DELAY, START + 1, START + 6 * HOUR, 3, START + 3 * HOUR,
        START + 6 * HOUR, START + 2,
    )  # fmt: skip


def test_what_was_not_joined_is_not_known() -> None:
    tail = 3, START + 3 * HOUR
    assert Epoch.of(ROW, DELAY) == Epoch(Grid(START, PERIOD, HOUR), DAY, DELAY, None, None, *tail, None, 0)


@pytest.mark.parametrize("name", ENDS)
def test_nothing_is_expected_after_the_earliest_end(name: str) -> None:
    row = ROW | dict.fromkeys(ENDS, START + 2 * HOUR) | {name: START + HOUR}
    assert Epoch.of(row, DELAY).expected_until_ms == START + HOUR


def test_a_full_chunk_is_complete() -> None:
    assert epoch_of().complete(START, 12)
    assert not epoch_of().complete(START, 11)


@pytest.mark.parametrize(("sent_ms", "complete"), [(LAST - 1, False), (LAST, True), (LAST + HOUR, True)])
def test_a_chunk_is_complete_when_all_was_sent_up_to_its_last_second(sent_ms: int, complete: bool) -> None:
    assert epoch_of(complete_until_ms=sent_ms).complete(START, 0) is complete


@pytest.mark.parametrize(("until_ms", "complete"), [(START + HOUR - 1, True), (START + HOUR, False)])
def test_a_chunk_that_was_cut_is_complete(until_ms: int, complete: bool) -> None:
    assert epoch_of(Grid(START, PERIOD, HOUR, until_ms)).complete(START, 0) is complete


@pytest.mark.parametrize(("expected_ms", "over"), [(None, False), (START, True), (START + 1, False)])
def test_a_chunk_that_starts_at_the_end_expects_nothing(expected_ms: int | None, over: bool) -> None:
    assert replace(epoch_of(), expected_until_ms=expected_ms).over(START) is over


def test_a_device_keeps_what_it_could_not_send_for_so_long_after_the_last_second() -> None:
    epoch = epoch_of()
    assert epoch.settles(START) == LAST + DAY
    assert [epoch.overdue(START, now_ms) for now_ms in (LAST + DAY, LAST + DAY + 1)] == [False, True]


def test_the_next_chunk_follows_the_last_stored_one() -> None:
    assert Epoch.of(ROW, DELAY).next_start() == (4, START + 4 * HOUR)
    assert Epoch.of(ROW | {"tail_k": None, "tail_start_ms": None, "from_ms": START + 999}, DELAY).next_start() == (
        0, START,
    )  # fmt: skip


@example(registered_ms=0, ends_ms=None, now_ms=PERIOD + DELAY)
@example(registered_ms=0, ends_ms=None, now_ms=PERIOD + DELAY - 1)
@example(registered_ms=HOUR, ends_ms=None, now_ms=HOUR + DELAY)
@example(registered_ms=HOUR, ends_ms=None, now_ms=HOUR + DELAY - 1)
@example(registered_ms=0, ends_ms=2 * HOUR, now_ms=9 * HOUR)
@given(
    registered_ms=st.integers(0, 8 * HOUR),
    ends_ms=st.none() | st.integers(0, 8 * HOUR),
    now_ms=st.integers(0, 9 * HOUR),
)
def test_two_rules_agree_on_which_empty_chunks_are_shown(registered_ms: int, ends_ms: int | None, now_ms: int) -> None:
    """What a DiGA is shown by time (`placeholder`) and what is stored when something comes (`overdue_before`)."""
    epoch = replace(epoch_of(Grid(0, PERIOD, HOUR)), registered_ms=registered_ms, expected_until_ms=ends_ms)
    for k in range(10):
        assert (epoch.placeholder(k, now_ms) is not None) is (k * HOUR < epoch.overdue_before(now_ms))
    assert [chunk.k for chunk in epoch.placeholders(now_ms)] == [
        k for k in range(10) if k * HOUR < epoch.overdue_before(now_ms)
    ]
