"""The day of the running test by this machine's clock, which is also the database's: some tables are per day."""

from __future__ import annotations

import time

from ddr.durations import DAY_MS

NEAR_MS = 60_000  # before midnight (UTC); no test that asks for the day takes this long

_day = time.time_ns() // 1_000_000 // DAY_MS


def today() -> int:
    """The day since 1970 on which the test began and will end."""
    return _day


def begin() -> None:
    """Start a test, unless midnight is so near that its day would end before the test does: then wait for it."""
    global _day
    left_ms = DAY_MS - time.time_ns() // 1_000_000 % DAY_MS
    if left_ms < NEAR_MS:
        time.sleep(left_ms / 1000)
    _day = time.time_ns() // 1_000_000 // DAY_MS
