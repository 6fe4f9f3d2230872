"""Which chunks can contain a sensor's readings, and which readings belong to a series; local time treated as UTC."""

from __future__ import annotations

from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from ddr.series.days import as_local
from ddr.series.grid import LONGEST_SPAN, Grid, grid_problem

MINUTE, HOUR = 60_000, 3_600_000
PERIOD = "the sampling period must be longer than 2 seconds"
SPAN = "the chunk span must be whole seconds, at least one sampling period and at most 14 days"
MULTIPLE = "the chunk span must be a multiple of the sampling period"


@pytest.mark.parametrize(
    ("period_ms", "span_ms", "problem"),
    [
        (2000, HOUR, PERIOD),
        (2001, 2001 * 1000, None),
        (2500, 5000, None),
        (5 * MINUTE, 5 * MINUTE, None),
        (5 * MINUTE, 5 * MINUTE - 1000, SPAN),
        (5 * MINUTE, HOUR + 1, SPAN),
        (MINUTE, LONGEST_SPAN, None),
        (MINUTE, LONGEST_SPAN + MINUTE, SPAN),
        (7 * MINUTE, HOUR, MULTIPLE),
    ],
)
def test_which_chunks_can_hold_a_sensor(period_ms: int, span_ms: int, problem: str | None) -> None:
    assert grid_problem(period_ms, span_ms) == problem


@pytest.mark.parametrize(
    ("time_ms", "within"), [(999, False), (1000, True), (4999, True), (5000, False), (9000, False)]
)
def test_the_start_belongs_to_a_series_and_its_end_to_the_next(time_ms: int, within: bool) -> None:
    assert Grid(1000, MINUTE, HOUR, 5000).holds(time_ms) is within
    assert Grid(1000, MINUTE, HOUR).holds(time_ms) is (time_ms >= 1000)


def test_local_time_is_read_in_its_zone() -> None:
    """1970-01-02T00:00 on the wall east of Greenwich was earlier; in Berlin by an hour."""
    day = 24 * HOUR
    assert as_local(day, timezone(timedelta(hours=2))) == day - 2 * HOUR
    assert as_local(day, ZoneInfo("Europe/Berlin")) == day - HOUR
    found = as_local(day + 1, timezone(timedelta(0)))
    assert found == day + 1 and isinstance(found, int)
