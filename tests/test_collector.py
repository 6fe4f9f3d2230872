"""Python's garbage collector makes no full pass while something large is being processed, but not for ever."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from ddr import aside as module
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


async def test_a_thread_keeps_nothing_of_what_it_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a full pass could begin between the end of a request and that of the thread, and meet all of it."""
    kept: list[Callable[[], object]] = []

    class Keeping(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            kept.append(fn)
            return super().submit(fn, *args, **kwargs)

    class Large(list[int]):
        pass

    with Keeping(1) as threads:
        monkeypatch.setattr(module, "_THREADS", threads)
        large = Large([1])
        there = weakref.ref(large)
        assert await aside(True, len, large) == len(kept) == 1
        del large
        assert there() is None


def test_a_stream_of_large_things_does_not_keep_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with in_hand(large=True):
        later = time.monotonic() + LONGEST_SECONDS + 1
        monkeypatch.setattr(collector, "time", SimpleNamespace(monotonic=lambda: later))
        with in_hand(large=True):
            assert full() != NEVER
        assert full() != NEVER
