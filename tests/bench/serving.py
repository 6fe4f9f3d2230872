"""Reads and searches of a running recorder compared with the durable floor of its listener, and a worker's memory.

Compare processor time across runs: rates also depend on other load on the machine, including the load generator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from ddr.demo.cast import GLUKOBUCH
from tests.bench.caller import FHIR_XML, INCLUDES
from tests.bench.figure import NONE, Figure, Goal
from tests.bench.scene import Scene, scene
from tests.bench.turns import Seen, Step, in_turns

CLIENTS = 16
MEMORY_MB = 120
METADATA = "/.well-known/oauth-authorization-server"
NEWEST = {"_sort": "-date", "_count": "1"}

FIGURES: Mapping[str, tuple[str, Goal]] = {
    "static": ("static document", NONE),
    "read": ("Observation read", Goal(least=0.70)),
    "newest": ("search: newest chunk, both includes", Goal(least=0.55)),
    "days30": ("search: 30 days, both includes", Goal(least=0.40)),
    "days30_xml": ("the same as XML, against JSON", Goal(least=0.60)),
}
FLOOR_CPU = Goal(most=1.3)  # of the database, of a read against the floor


async def run(folder: Path, rounds: int, duration: float) -> list[Figure]:
    """Rates of one worker; every connection asks for 30 days of glucose of one of the patients."""
    async with scene(folder / "serving", CLIENTS) as one:
        seen = await in_turns(await _loads(one), one.processes, rounds, duration)
        memory = _peak_kb(one.processes.workers[0].pid) / 1024
    floor = seen["floor"]
    cpu = [found / least for found, least in zip(seen["read"].database_us, floor.database_us, strict=True)]
    return [
        floor.figure("floor", "one durable row over the same listener (the floor)", floor),
        *(_figure(name, seen) for name in FIGURES),
        Figure(
            "read_database_cpu",
            "CPU of the database for an Observation read",
            median(seen["read"].database_us),
            "us",
            median(floor.database_us),
            median(cpu),
            FLOOR_CPU,
        ),
        Figure("memory_worker_mb", "peak memory of the worker", memory, "MB", target=Goal(most=MEMORY_MB)),
    ]


def _figure(name: str, seen: Mapping[str, Seen]) -> Figure:
    text, goal = FIGURES[name]
    return seen[name].figure(name, text, seen["days30" if name == "days30_xml" else "floor"], goal)


async def _loads(one: Scene) -> dict[str, Sequence[Step]]:
    diga, lines = await one.stack.diga(GLUKOBUCH), await one.lines()
    loads: dict[str, list[Step]] = {}
    for line, paired in zip(lines, one.pairings, strict=True):
        newest = (await diga.search(paired.tokens, "Observation", NEWEST))[0]
        search = f"/fhir/Observation?{INCLUDES}"
        for name, step in {
            "floor": one.floor(line),
            "static": one.get(line, METADATA),
            "read": one.get(line, f"/fhir/Observation/{newest['id']}", paired),
            "newest": one.get(line, f"{search}&{urlencode(NEWEST)}", paired),
            "days30": one.get(line, f"{search}&_count=100", paired),
            "days30_xml": one.get(line, f"{search}&_count=100", paired, FHIR_XML),
        }.items():
            loads.setdefault(name, []).append(step)
    return dict(loads)


def _peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
