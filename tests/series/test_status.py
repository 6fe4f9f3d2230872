"""How a chunk's status and version change."""

from __future__ import annotations

import pytest

from ddr.series.status import State, advanced, created, settled, settles, withdrawn

NOW = 1_000_000


def test_a_chunk_is_final_by_time_without_a_write() -> None:
    state = State("p", 4, 500)
    assert settled(state, 1200, 1200) == state
    assert settled(state, 1200, 1201) == State("f", 5, 1201)


def test_time_does_not_move_what_is_final_and_never_turns_back_an_update() -> None:
    assert settled(State("a", 4, 500), 1200, NOW) == State("a", 4, 500)
    assert settled(State("p", 4, 5000), 1200, NOW) == State("f", 5, 5000)


@pytest.mark.parametrize(("complete", "status"), [(False, "p"), (True, "f")])
def test_a_new_chunk_has_version_one(complete: bool, status: str) -> None:
    assert created(complete, NOW) == State(status, 1, NOW)


@pytest.mark.parametrize(
    ("before", "changed", "complete", "after"),
    [
        ("p", True, False, "p"),
        ("p", True, True, "f"),
        ("p", False, True, "f"),
        ("p", False, False, None),
        ("f", True, False, "a"),
        ("f", True, True, "a"),
        ("f", False, True, None),
        ("a", True, True, "a"),
        ("a", False, False, None),
    ],
)
def test_the_version_follows_what_is_seen(before: str, changed: bool, complete: bool, after: str | None) -> None:
    found = advanced(State(before, 7, 10), changed, complete, NOW)
    assert found == (None if after is None else State(after, 8, NOW))


def test_a_clock_behind_never_moves_an_update_back() -> None:
    assert advanced(State("p", 1, NOW + 5), True, False, NOW) == State("p", 2, NOW + 6)
    assert advanced(State("p", 1, NOW), True, False, NOW) == State("p", 2, NOW)  # twice in one transaction


@pytest.mark.parametrize(
    ("expires_ms", "settles_ms"),
    [
        (None, 1_150_000),
        (50_000, 1_150_000),
        (100_000, 1_150_000),
        (100_001, 100_001),
        (199_000, 199_000),
        (200_000, 200_000),  # as the chunk ends, whose last second is 199
        (200_999, 200_999),
        (201_000, 1_150_000),
    ],
)
def test_the_chunk_in_which_a_device_expires_waits_for_nothing_more(expires_ms: int | None, settles_ms: int) -> None:
    assert settles(100_000, 199_000, 951_000, expires_ms) == settles_ms


def test_a_device_that_keeps_nothing_settles_with_the_chunk() -> None:
    assert settles(100, 199, 0, 150) == 150
    assert settles(100, 199, 0, None) == 199


def test_what_is_withdrawn_is_a_new_version_of_it() -> None:
    assert withdrawn(State("a", 4, NOW - 1), NOW) == State("e", 5, NOW)
    assert withdrawn(State("p", 1, NOW + 5), NOW) == State("e", 2, NOW + 6)
