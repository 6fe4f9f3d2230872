"""Processor time of a request, in the database's sessions and in the process that responds.

One at a time, and eight at once: as many as a DiGA may have open by default; the latter also without sharing statements
(ddr.store.database.together), alternating. Other load on the machine hardly affects it, so versions can be compared on
a busy machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

from ddr.store.database.together import Line
from tests.bench.figure import Figure
from tests.bench.growth import WORK
from tests.bench.inside import Backend
from tests.bench.population import NEWEST, Population, population
from tests.oauth.backend import DigaBackend, new_diga
from tests.support.recorder import Recorder

PATIENTS = 100
WARM, REQUESTS = 10, 120
AT_ONCE = 8
OWN = "self"

Cost = tuple[float, float]
"""Microseconds of the database and of the process that answers, for each request."""


class Load(NamedTuple):
    """How many requests at once, and whether they may share statements."""

    suffix: str
    told: str
    at_once: int
    shared: bool


LOADS = (
    Load("", "", 1, True),
    Load(f"_{AT_ONCE}_apart", f", {AT_ONCE} at once, nothing shared", AT_ONCE, False),
    Load(f"_{AT_ONCE}", f", {AT_ONCE} at once", AT_ONCE, True),
)


async def run(running: Recorder, folder: Path, rounds: int) -> list[Figure]:
    """Each kind of request in turns, straight into the applications of this process."""
    terms = running.core.catalog.terms
    terms.update({url: replace(term, grace_seconds=0) for url, term in terms.items()})
    async with population(running, folder, PATIENTS) as one:
        works = {name: (text, one.turns(work)) for name, (text, work) in WORK.items()}
        works["newest_all"] = "search: newest chunk, over all kinds of data", await _of_all_kinds(running, one)
        seen: dict[tuple[str, Load], list[Cost]] = {(name, load): [] for load in LOADS for name in works}
        for name, load in seen:
            for _ in range(WARM):
                await _several(works[name][1], load)
        for _ in range(rounds):
            for (name, load), found in seen.items():
                found.append(await _cost(one, works[name][1], load))
    return [_figure(name, works[name][0], load, found) for (name, load), found in seen.items()]


def _figure(name: str, text: str, load: Load, found: list[Cost]) -> Figure:
    database, own = (median(column) for column in zip(*found, strict=True))
    what = f"CPU of the database: {text}{load.told}"
    return Figure(f"cost_{name}{load.suffix}", what, database, "us", more=f"recorder {own:,.0f} us")


async def _of_all_kinds(running: Recorder, one: Population) -> Callable[[], Awaitable[int]]:
    core = one.core
    entry, certificate = new_diga(frozenset(miv.valueset for miv in core.catalog.mivs))
    diga = DigaBackend(core, running.trust.add(entry, certificate), certificate)
    backend = Backend(one.apps["diga"], certificate, entry.client_id, await diga.pair(one.patient_ids[0]))

    async def step() -> int:
        return len(await backend.get(NEWEST))

    return step


async def _alone(self: Line[Any, Any], item: Any, _: Any = None) -> Any:
    """In the place of `Line.ask`: as if there were nobody else."""
    return await self._way.alone(self._pool, item)


async def _several(step: Callable[[], Awaitable[int]], load: Load) -> None:
    with nullcontext() if load.shared else patch.object(Line, "ask", _alone):
        await asyncio.gather(*(step() for _ in range(load.at_once)))


async def _cost(one: Population, step: Callable[[], Awaitable[int]], load: Load) -> Cost:
    """Of the sessions of this database, and of this process."""
    sessions = [row["pid"] for row in await one.pool.fetch(_SESSIONS)]
    before = _seconds(*sessions), _seconds(OWN)
    for _ in range(REQUESTS // load.at_once):
        await _several(step, load)
    after = _seconds(*sessions), _seconds(OWN)
    database, own = ((late - early) / REQUESTS * 1e6 for early, late in zip(before, after, strict=True))
    return database, own


_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"


def _seconds(*processes: int | str) -> float:
    """Processor time so far: by the scheduler, to the nanosecond."""
    tasks = (task for process in processes for task in Path(f"/proc/{process}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
