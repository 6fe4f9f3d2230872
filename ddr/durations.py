"""How many milliseconds a minute, an hour and a day have: days of UTC, which all have as many."""

from __future__ import annotations

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
