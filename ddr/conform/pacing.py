"""Keeps the kit within the registered limits: an Observation search no sooner than the Grace-Period after the last."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from ddr.conform.exchange import Exchange
from ddr.conform.verdict import NotRun

SOON = 10.0  # seconds: to wait for so long is to be slower, and no Grace-Period
_LEFT = re.compile(r'"grace-period";r=0;t=([0-9]+)')


@dataclass
class Patience:
    """How many seconds a run may wait in all. `sleep` and `clock` are those of `time`, but in tests."""

    left: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def wait(self, seconds: float, why: str) -> None:
        """Wait. Raises NotRun when that is longer than the run may take."""
        if seconds > self.left:
            raise NotRun(f"--patience is too short, {why}: {seconds:.0f} s to wait, {self.left:.0f} s left")
        self.left -= seconds
        self.sleep(seconds)


class Pace:
    """The Grace-Period of one pairing: `grace` in seconds, the longest of its MIVs.

    `registered`: that is known, and never undercut; else the recorder's own word counts (RateLimit).
    """

    def __init__(self, patience: Patience, grace: float, registered: bool = True) -> None:
        self._patience, self.grace, self._registered, self._free_at = patience, grace, registered, 0.0

    def claim(self) -> None:
        """Wait until a search is due. Raises NotRun."""
        left = self._free_at - self._patience.clock()
        if left > 0:
            self._patience.wait(left, f"the Grace-Period ({self.grace:.0f} s) still runs")

    def now(self) -> float:
        """Seconds of the clock that this goes by."""
        return self._patience.clock()

    def is_over(self, since: float | None) -> bool:
        """Whether there is a Grace-Period, and it is over when it runs since then; None: nobody knows since when."""
        return self.grace > 0 and since is not None and self.now() >= since + self.grace

    def answered(self, exchange: Exchange) -> None:
        """A search was answered: the next one is due after the Grace-Period, or when the recorder says so."""
        if exchange.status != 200:
            return
        told = _LEFT.search(exchange.headers.get("ratelimit", ""))
        left = float(told[1]) if told else self.grace
        self._free_at = self._patience.clock() + (max(left, self.grace) if self._registered else left)

    def wait_for(self, seconds: float) -> None:
        """The recorder said when to come back."""
        self._free_at = self._patience.clock() + seconds
