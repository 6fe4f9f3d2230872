"""The cost of a request among many patients compared with few, and what a patient's years add."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import psutil

from tests.bench.figure import Figure, Goal, against
from tests.bench.population import MONTH, NEWEST, Patient, Population, population
from tests.bench.turns import Processes, Seen, in_turns
from tests.support.recorder import Recorder

CLIENTS = 4
FLAT = Goal(most=1.2)


async def read(patient: Patient) -> int:
    """The newest chunk by its id."""
    return len(await patient.backend.get(f"Observation/{patient.newest}"))


async def _newest(patient: Patient) -> int:
    return len(await patient.backend.get(NEWEST))


async def _month(patient: Patient) -> int:
    return len(await patient.backend.get(MONTH))


async def _refresh(patient: Patient) -> int:
    return len(await patient.backend.refresh())


WORK: Mapping[str, tuple[str, Callable[[Patient], Awaitable[int]]]] = {
    "read": ("Observation read", read),
    "newest": ("search: newest chunk", _newest),
    "days30": ("search: 30 days", _month),
    "refresh": ("refresh with rotation", _refresh),
    "poll": ("poll with nothing new", Patient.poll),
    "upload1": ("upload of one reading", Patient.upload),
}
YEARS = ("read", "newest", "days30", "poll")  # of which a patient with three years has no more to see


async def run(running: Recorder, folder: Path, sizes: Sequence[int], rounds: int, duration: float) -> list[Figure]:
    """Medians in this process, and processor time of the database, in turns for all sizes."""
    async with AsyncExitStack() as stack:
        crowds = [(size, await stack.enter_async_context(population(running, folder, size))) for size in sizes]
        processes = await processes_of(crowds[0][1])
        loads = {}
        for name, (_, work) in WORK.items():
            for size, one in crowds:
                loads[f"{name}@{size}"] = [one.turns(work)] * CLIENTS
            if name in YEARS:
                loads[f"{name}@years"] = [crowds[-1][1].turns(work, old=True)] * CLIENTS
        seen = await in_turns(loads, processes, rounds, duration)
    figures = []
    for name, (text, _) in WORK.items():
        few = seen[f"{name}@{sizes[0]}"]
        for size in sizes[1:]:
            told = f"{text}: {size:,} patients against {sizes[0]:,}"
            figures += compared(f"growth_{name}_{size}", told, seen[f"{name}@{size}"], few)
        if name in YEARS:
            told = f"{text}: three years against 30 days, among {sizes[-1]:,}"
            figures += compared(f"years_{name}", told, seen[f"{name}@years"], seen[f"{name}@{sizes[-1]}"])
    return figures


def compared(name: str, text: str, many: Seen, few: Seen, goal: Goal = FLAT) -> list[Figure]:
    """Median and processor time of the database, which are to stay as they are unless another `goal` is given."""
    return [
        against(name, f"{text}, median", "ms", many.p50_ms, few.p50_ms, goal),
        against(
            f"{name}_database",
            f"{text}, CPU of the database",
            "us",
            many.database_us,
            [one or median(few.database_us) or 1 for one in few.database_us],
            goal,
        ),
    ]


async def processes_of(one: Population) -> Processes:
    """This one, in which the recorder is, and the database's."""
    postgres = psutil.Process(await one.pool.fetchval("SELECT pg_backend_pid()")).parent()
    assert postgres is not None
    return Processes([psutil.Process()], postgres)
