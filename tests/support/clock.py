"""A clock that tests set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Callable like `ddr.http.clock.now_ms`; starts at 2026-11-22T10:00:00Z."""

    ms: int = 1_795_341_600_000

    def __call__(self) -> int:
        return self.ms

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self.ms += int(seconds * 1000)
