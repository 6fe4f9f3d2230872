"""The cost of a long Historic-Data-Period: patients with three years, of which a month, a year or all is visible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ddr.miv.model import MivTerms
from tests.bench.figure import NONE, Figure
from tests.bench.growth import CLIENTS, WORK, compared, processes_of
from tests.bench.population import YEARS, population
from tests.bench.turns import Done, Seen, Step, driven, driven_in_turns
from tests.support.recorder import Recorder

ASKED = ("read", "newest", "poll")
PATIENTS = 100
DAYS = (30, 365, YEARS)


async def run(running: Recorder, folder: Path, rounds: int, duration: float) -> list[Figure]:
    """Medians in this process, and processor time of the database, of each period against the shortest."""
    async with population(running, folder, PATIENTS) as one:
        terms = one.core.catalog.terms
        drives = {
            f"{name}@{days}": partial(_within, terms, days, one.turns(WORK[name][1], old=True))
            for name in ASKED
            for days in DAYS
        }
        return figures(await driven_in_turns(drives, await processes_of(one), rounds, duration))


def figures(seen: Mapping[str, Seen]) -> list[Figure]:
    """Of what was seen of each kind of request under each period."""
    found = []
    for name in ASKED:
        month = seen[f"{name}@{DAYS[0]}"]
        for days in DAYS[1:]:
            text = f"{WORK[name][0]}: {days} days to see against {DAYS[0]}"
            found += compared(f"history_{name}_{days}", text, seen[f"{name}@{days}"], month, NONE)
    return found


async def _within(terms: dict[str, MivTerms], days: int, step: Step, duration: float) -> Done:
    """The load under this Historic-Data-Period."""
    terms.update({url: replace(one, historic_days=days) for url, one in terms.items()})
    return await driven([step] * CLIENTS, duration)
