"""Tests begin and end on the same day."""

from __future__ import annotations

import time

import pytest

from ddr.durations import DAY_MS
from tests.support import day

YESTERDAY = 20_000


@pytest.mark.parametrize(("left_ms", "began"), [(day.NEAR_MS, YESTERDAY), (day.NEAR_MS - 1, YESTERDAY + 1)])
def test_a_test_that_would_see_midnight_waits_for_it(monkeypatch: pytest.MonkeyPatch, left_ms: int, began: int) -> None:
    now_ms = [(YESTERDAY + 1) * DAY_MS - left_ms]
    with monkeypatch.context() as patched:
        patched.setattr(day, "_day", YESTERDAY - 1)
        patched.setattr(time, "time_ns", lambda: now_ms[0] * 1_000_000)
        patched.setattr(time, "sleep", lambda seconds: now_ms.append(now_ms.pop() + round(seconds * 1000)))
        day.begin()
        assert day.today() == began
