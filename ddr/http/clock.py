"""The one clock of the HTTP rooms: milliseconds UTC since 1970."""

from __future__ import annotations

import time


def now_ms() -> int:
    """The present instant in milliseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000_000
