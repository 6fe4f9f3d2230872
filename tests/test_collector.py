"""Python's collector makes no full pass while something large is in hand, but not for ever."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ddr import collector
from ddr.aside import aside
from ddr.collector import LONGEST_SECONDS, NEVER, in_hand


@pytest.fixture(autouse=True)
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    assert gc.get_threshold() == before


def full() -> int:
    """Passes of the middle generation before a full one."""
    return gc.get_threshold()[2]


def test_no_full_pass_begins_until_the_last_of_them_ends(usual: tuple[int, int, int]) -> None:
    with in_hand(large=False):
        assert gc.get_threshold() == usual
    with in_hand(large=True):
        with pytest.raises(ValueError), in_hand(large=True):
            assert full() == NEVER
            raise ValueError
        assert gc.get_threshold() == (*usual[:2], NEVER)


async def test_what_is_done_aside_is_in_hand(usual: tuple[int, int, int]) -> None:
    assert await aside(True, full) == NEVER
    assert await aside(False, full) == usual[2]


def test_a_stream_of_large_things_does_not_keep_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with in_hand(large=True):
        later = time.monotonic() + LONGEST_SECONDS + 1
        monkeypatch.setattr(collector, "time", SimpleNamespace(monotonic=lambda: later))
        with in_hand(large=True):
            assert full() != NEVER
        assert full() != NEVER
