"""Whether the memory of workers grows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.soak.ledger import Ledger

EVERY_SECONDS = 2.0
WARM_SECONDS = 60.0  # caches fill, and the allocator keeps what it once needed
MOST_GROWTH, MOST_MB = 1.25, 25.0


class Memory:
    """Resident memory of each worker in MB, every other second."""

    def __init__(self) -> None:
        self.seen: dict[int, list[float]] = {}

    async def watch(self, stop: asyncio.Event, workers: Callable[[], list[int]]) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            for worker in workers():
                with suppress(OSError, StopIteration):
                    self.seen.setdefault(worker, []).append(_resident(worker))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_SECONDS)

    def judge(self, ledger: Ledger) -> None:
        """A worker that lived long needs no more at its end than soon after its beginning."""
        warm = int(WARM_SECONDS / EVERY_SECONDS)
        for worker, seen in self.seen.items():
            if len(seen) < 3 * warm:
                continue
            first, last = max(seen[warm : 2 * warm]), max(seen[-warm:])
            if last > first * MOST_GROWTH and last > first + MOST_MB:
                ledger.found("memory grows", f"worker {worker}: {first:.0f} MB, {last:.0f} MB at the end")

    def report(self) -> list[str]:
        """Those that lived longest."""
        longest = sorted(self.seen.values(), key=len)[-2:]
        return [
            f"a worker of {len(seen) * EVERY_SECONDS:.0f} s: {seen[0]:.0f} MB at first, at most {max(seen):.0f}, "
            f"{seen[-1]:.0f} at the end"
            for seen in longest
        ]


def _resident(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024
