"""Keeps the kit within the registered limits: searches of Observations are at least a Grace-Period apart."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from ddr.conform.exchange import Exchange
from ddr.conform.verdict import NotRun

SOON = 10.0  # seconds: a shorter wait is throttling, not a Grace-Period
_LEFT = re.compile(r'"grace-period";r=0;t=([0-9]+)')


@dataclass
class Patience:
    """The seconds that a run may wait in total. Tests replace `sleep` and `clock` of `time`."""

    left: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def wait(self, seconds: float, why: str) -> None:
        """Wait. Raises NotRun when that exceeds the rest."""
        if seconds > self.left:
            raise NotRun(f"--patience is too short, {why}: {seconds:.0f} s to wait, {self.left:.0f} s left")
        self.left -= seconds
        self.sleep(seconds)


class Pace:
    """The Grace-Period of one pairing: `grace` in seconds, the longest of its MIVs.

    `registered`: this period is known, and never undercut; otherwise the recorder's own value applies (RateLimit).
    """

    def __init__(self, patience: Patience, grace: float, registered: bool = True) -> None:
        self._patience, self.grace, self._registered, self._free_at = patience, grace, registered, 0.0

    def claim(self) -> None:
        """Wait until a search is due. Raises NotRun."""
        left = self._free_at - self._patience.clock()
        if left > 0:
            self._patience.wait(left, f"the Grace-Period ({self.grace:.0f} s) still runs")

    def now(self) -> float:
        """Seconds of the clock in use."""
        return self._patience.clock()

    def is_over(self, since: float | None) -> bool:
        """Whether there is a Grace-Period that began then and is over; None: its beginning is unknown."""
        return self.grace > 0 and since is not None and self.now() >= since + self.grace

    def answered(self, exchange: Exchange) -> None:
        """A search was answered: the next one is due after the Grace-Period, or when the recorder says so."""
        if exchange.status != 200:
            return
        told = _LEFT.search(exchange.headers.get("ratelimit", ""))
        left = float(told[1]) if told else self.grace
        self._free_at = self._patience.clock() + (max(left, self.grace) if self._registered else left)

    def wait_for(self, seconds: float) -> None:
        """The recorder said when to retry."""
        self._free_at = self._patience.clock() + seconds
