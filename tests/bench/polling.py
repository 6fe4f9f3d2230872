"""Users experience the poll: a refresh with rotation, and a search by `_lastUpdated` with both includes.

With nothing new and with one changed chunk; over a kept connection, a fresh one, and one whose TLS session is resumed.
A rate counts polls of two requests each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ddr.demo.cast import GLUKOBUCH
from ddr.fhir.instants import parse_instant
from tests.bench.caller import Paired, changed_since
from tests.bench.figure import NONE, Figure, Goal
from tests.bench.line import Line
from tests.bench.scene import Scene, scene
from tests.bench.serving import NEWEST
from tests.bench.turns import Step, in_turns

CLIENTS = 16
FIGURES: Mapping[str, tuple[str, Goal]] = {
    "refresh": ("refresh with rotation", Goal(least=0.60)),
    "poll": ("poll with nothing new, kept connection", Goal(least=0.35)),
    "poll_changed": ("poll with one changed chunk, kept connection", NONE),
    "poll_resumed_tls": ("poll with nothing new, resumed TLS session", NONE),
    "poll_fresh_tls": ("poll with nothing new, fresh connection", NONE),
}


async def run(folder: Path, rounds: int, duration: float) -> list[Figure]:
    """Each client polls for one patient."""
    async with scene(folder / "polling", CLIENTS) as one:
        loads: dict[str, list[Step]] = {}
        for line, paired in zip(await one.lines(), one.pairings, strict=True):
            for name, step in (await _steps(one, line, paired)).items():
                loads.setdefault(name, []).append(step)
        seen = await in_turns(loads, one.processes, rounds, duration)
    return [seen[name].figure(name, text, seen["floor"], goal) for name, (text, goal) in FIGURES.items()]


async def _steps(one: Scene, line: Line, paired: Paired) -> dict[str, Step]:
    diga = await one.stack.diga(GLUKOBUCH)
    newest = (await diga.search(paired.tokens, "Observation", NEWEST))[0]
    changed_ms = parse_instant(newest["meta"]["lastUpdated"])
    nothing, changed = changed_since(changed_ms), changed_since(changed_ms - 1)

    async def poll_anew() -> int:
        fresh = await Line.open(one.place, one.tls)
        size = await one.poll(fresh, paired, nothing)
        fresh.close()
        return size

    session = line.session

    async def poll_again() -> int:
        nonlocal session
        again = await Line.open(one.place, one.tls, session)
        size = await one.poll(again, paired, nothing)
        if not again.resumed:
            raise RuntimeError("the TLS session was not resumed")
        session = again.session
        again.close()
        return size

    first = await Line.open(one.place, one.tls)
    await one.poll(first, paired, nothing)
    session = first.session
    first.close()
    return {
        "floor": one.floor(line),
        "refresh": lambda: one.refresh(line, paired),
        "poll": lambda: one.poll(line, paired, nothing),
        "poll_changed": lambda: one.poll(line, paired, changed),
        "poll_resumed_tls": poll_again,
        "poll_fresh_tls": poll_anew,
    }
