"""Alternating loads: each round runs every load once, so that other load on the machine affects all of them equally."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import NamedTuple

import psutil

from tests.bench.figure import NONE, Figure, Goal, against

Step = Callable[[], Awaitable[int]]
"""What one client does over and over; gives the bytes of its answer."""


class Done(NamedTuple):
    """What one run of a load saw: requests, seconds, median in milliseconds, bytes of an answer."""

    requests: int
    elapsed: float
    p50_ms: float
    size: int


Drive = Callable[[float], Awaitable[Done]]
"""Runs a load for so many seconds."""

WARM_SECONDS = 0.7  # statements get prepared, what is remembered gets remembered


@dataclass
class Seen:
    """What the rounds of one load saw; microseconds are of processor time for each request."""

    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    worker_us: list[float] = field(default_factory=list)
    database_us: list[float] = field(default_factory=list)
    size: int = 0

    def figure(self, name: str, text: str, floor: Seen, goal: Goal = NONE) -> Figure:
        """Its rate against that of `floor`."""
        more = (
            f"p50 {median(self.p50_ms):.1f} ms, {self.size:,} bytes, CPU: worker {median(self.worker_us):,.0f} us, "
            f"database {median(self.database_us):,.0f} us"
        )
        return against(name, text, "/s", self.per_second, floor.per_second, goal, more)


@dataclass(frozen=True)
class Processes:
    """Whose processor time counts: the workers', and that of the database's sessions."""

    workers: Sequence[psutil.Process]
    postgres: psutil.Process

    def seconds(self) -> tuple[float, float]:
        """So far."""
        return sum(map(seconds, self.workers)), sum(map(seconds, self.postgres.children()))


def seconds(process: psutil.Process) -> float:
    """Processor time that a process has used; 0 for one that has just ended."""
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0


async def in_turns(
    loads: Mapping[str, Sequence[Step]],
    of: Mapping[str, Processes] | Processes,
    rounds: int,
    duration: float,
) -> dict[str, Seen]:
    """Run every load `rounds` times for `duration` seconds, each of its steps as a client of its own."""
    return await driven_in_turns({name: partial(driven, steps) for name, steps in loads.items()}, of, rounds, duration)


async def driven_in_turns(
    drives: Mapping[str, Drive],
    of: Mapping[str, Processes] | Processes,
    rounds: int,
    duration: float,
) -> dict[str, Seen]:
    """The same with loads that run themselves, in whatever process."""
    found = {name: Seen() for name in drives}
    for drive in drives.values():
        await drive(WARM_SECONDS)
    for _ in range(rounds):
        for name, drive in drives.items():
            processes = of if isinstance(of, Processes) else of[name]
            before = processes.seconds()
            done = await drive(duration)
            worker, database = (late - early for early, late in zip(before, processes.seconds(), strict=True))
            seen = found[name]
            seen.per_second.append(done.requests / done.elapsed)
            seen.p50_ms.append(done.p50_ms)
            seen.worker_us.append(worker / done.requests * 1e6)
            seen.database_us.append(database / done.requests * 1e6)
            seen.size = done.size
    return found


async def driven(steps: Sequence[Step], duration: float) -> Done:
    """Each of `steps` over and over, all at once, and once at least."""
    times: list[float] = []
    size = 0
    began = time.perf_counter()

    async def client(step: Step) -> None:
        nonlocal size
        while time.perf_counter() < began + duration or not times:
            begun = time.perf_counter()
            size = await step()
            times.append(time.perf_counter() - begun)

    await asyncio.gather(*map(client, steps))
    return Done(len(times), time.perf_counter() - began, median(times) * 1000, size)
