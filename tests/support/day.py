"""The day of the test that runs, by the clock of this machine, which is the database's: some tables are of days."""

from __future__ import annotations

import time

from ddr.durations import DAY_MS

NEAR_MS = 60_000  # before midnight (UTC); no test that asks for the day takes as long

_day = time.time_ns() // 1_000_000 // DAY_MS


def today() -> int:
    """The day since 1970 on which the test began, and ends."""
    return _day


def begin() -> None:
    """A test begins: not so shortly before midnight that its day would be over before it is."""
    global _day
    left_ms = DAY_MS - time.time_ns() // 1_000_000 % DAY_MS
    if left_ms < NEAR_MS:
        time.sleep(left_ms / 1000)
    _day = time.time_ns() // 1_000_000 // DAY_MS
