"""What a worker finds wrong with itself lasts as long as it does, whatever the clock says."""

from __future__ import annotations

from ddr.http.watch import CLEAR_MS, FEW, RAISE_MS, UNAVAILABLE, WINDOW_MS, Trouble, Watch

HOUR_MS = 3_600_000
STEP_MS = 5_000
AWAY = Trouble("database", UNAVAILABLE, ["token"], "Away", "Weg")


def rounds(watch: Watch, found: list[Trouble], now_ms: int, for_ms: int) -> int:
    """Rounds with the same findings; when they are over."""
    for at_ms in range(now_ms, now_ms + for_ms + 1, STEP_MS):
        watch.note(found, at_ms)
    return now_ms + for_ms


def test_what_is_over_is_over_on_a_clock_that_was_set_back() -> None:
    watch, now_ms = Watch(), 10 * HOUR_MS
    now_ms = rounds(watch, [AWAY], now_ms, 60_000)
    assert list(watch.raised()) == ["database"]
    now_ms = rounds(watch, [], now_ms - HOUR_MS, CLEAR_MS - STEP_MS)
    assert list(watch.raised()) == ["database"], "it may come again"
    rounds(watch, [], now_ms + STEP_MS, 0)
    assert watch.raised() == {}
    assert watch.over_ms["database"] <= now_ms


def test_what_lasts_is_told_on_a_clock_that_was_set_back() -> None:
    watch, now_ms = Watch(), 10 * HOUR_MS
    watch.note([AWAY], now_ms)
    now_ms = rounds(watch, [AWAY], now_ms - HOUR_MS, RAISE_MS)
    raised = watch.raised()["database"]
    assert raised.since_ms is not None and raised.since_ms <= now_ms - RAISE_MS


def test_answers_that_failed_count_for_a_minute_on_a_clock_that_was_set_back() -> None:
    watch, now_ms = Watch(), 10 * HOUR_MS
    for _ in range(FEW):
        watch.answered("token", False, now_ms)
    now_ms -= HOUR_MS
    assert watch.failing(now_ms) == {"token": 1}
    assert watch.failing(now_ms + WINDOW_MS + 1) == {}
