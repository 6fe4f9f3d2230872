"""How many milliseconds a minute, an hour and a day have (days of UTC, which are all equal), and where dates end."""

from __future__ import annotations

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
BEGIN_MS = -62_135_596_800_000  # of the year 1: an earlier instant has no date
END_MS = 253_402_300_800_000  # of the year 9999: a later instant has no date (RFC 3339; Python's datetime)
