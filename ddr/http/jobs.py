"""Background work of a worker: each job is retried after any failure, counted, and reported in `/status`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Never

from ddr.http.clock import now_ms

AGAIN_SECONDS = 10.0  # longest pause after a failure
LIMIT_SECONDS = 300.0  # a job that takes longer hangs; none of our waits is that long

Step = Callable[[], Awaitable[object]]

log = logging.getLogger(__name__)


@dataclass
class State:
    """How one job has fared in this worker so far. Instants in milliseconds."""

    runs: int = 0
    failures: int = 0
    failing_since_ms: int | None = None
    good_ms: int | None = None  # when it last succeeded


class Jobs:
    """The jobs of one worker by name."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self.states: dict[str, State] = {}

    async def keep(self, name: str, step: Step, every_seconds: float, limited: bool = True) -> Never:
        """Run `step` about every so many seconds until cancelled; sooner after a failure if that is long.

        `limited`: each run may take LIMIT_SECONDS; not for a step that consists of other jobs, each with its own limit.
        """
        self.states.setdefault(name, State())
        while True:
            pause = min(every_seconds, AGAIN_SECONDS) if self.fails(name) else every_seconds
            await asyncio.sleep(pause * random.uniform(0.8, 1))  # noqa: S311 - jitter
            await self.attempt(name, step, limited)

    def fails(self, name: str) -> bool:
        """Whether the last run of this job failed."""
        return name in self.states and self.states[name].failing_since_ms is not None

    async def attempt(self, name: str, step: Step, limited: bool = True) -> bool:
        """Run `step` once; False when it failed, which is noted, and logged unless the previous run failed, too."""
        state = self.states.setdefault(name, State())
        state.runs += 1
        try:
            async with asyncio.timeout(LIMIT_SECONDS if limited else None):
                await step()
        except Exception as error:
            state.failures += 1
            now_ms = self._clock()
            if state.failing_since_ms is None:
                state.failing_since_ms = now_ms
                log.error("background.failed", extra={"job": name}, exc_info=error)
            state.failing_since_ms = min(state.failing_since_ms, now_ms)  # a clock may be set back
            return False
        state.good_ms = self._clock()
        if state.failing_since_ms is not None:
            lasted = (state.good_ms - state.failing_since_ms) // 1000
            log.info("background.recovered", extra={"job": name, "seconds": lasted, "failures": state.failures})
            state.failing_since_ms = None
        return True
