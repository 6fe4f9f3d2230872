"""The running recorder under load: searches and reads against its own static floor, and the memory of a worker.

Processor time is what to compare: rates also depend on what else the machine does, the load generator included.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil

from ddr.demo.cast import GLUKOBUCH
from ddr.demo.curves import DAY_MS
from ddr.demo.stack import DemoStack, Options
from ddr.demo.tls import client_context
from ddr.demo.upload import send_everything
from ddr.http.clock import now_ms
from tests.bench.figure import Figure, Goal
from tests.bench.load import Rate, Target, load

CGM = "continuous-glucose-measurement"
MEMORY_MB = 120  # what one worker may take in the demonstration
FLOOR = "static document over mTLS (the floor)"
WORKER = "ddr.cli.serving.worker"
METADATA = "oauth-authorization-server"
NEWEST = {"_sort": "-date", "_count": "1"}
WARM_SECONDS = 0.5  # statements get prepared, what is remembered gets remembered
INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"


async def run(folder: Path) -> list[Figure]:
    """Rates of one worker; every connection asks for 30 days of glucose of one of ten patients."""
    options = Options(state_dir=folder / "serving", ports="auto", patients=10, grace_seconds=0)
    async with DemoStack(options) as stack:
        now = now_ms()
        await send_everything(stack, now - 30 * DAY_MS, now, ())
        tls = client_context(Path(stack.description()["ca"]), stack.certificate(GLUKOBUCH))
        worker, postgres = _worker(), psutil.Process(await stack.pool.fetchval("SELECT pg_backend_pid()")).parent()
        assert postgres is not None
        loads = {
            name: await _measured(worker, postgres, targets, tls) for name, targets in (await _targets(stack)).items()
        }
        memory = _peak_kb(worker.pid) / 1024
    floor = loads[FLOOR]
    return [
        *(_told(one, loads[name], floor) for one, name in NAMES.items()),
        Figure("memory_worker_mb", "peak memory of the worker", memory, "MB", target=Goal(most=MEMORY_MB)),
    ]


NAMES = {
    "static": FLOOR,
    "read": "Observation read",
    "newest": "search: newest chunk, both includes",
    "days30": "search: 30 days, both includes",
    "days30_xml": "the same as XML",
}


@dataclass(frozen=True)
class Load:
    """A rate, and what it cost the worker."""

    rate: Rate
    cpu_us: float  # of the worker, per request
    database_us: float  # of PostgreSQL's sessions, per request


async def _targets(stack: DemoStack) -> Mapping[str, Sequence[Target]]:
    """What the connections ask for in each round."""
    base, diga = stack.settings.fhir_base, await stack.diga(GLUKOBUCH)
    search = f"{base}/Observation?{INCLUDES}"
    rounds: dict[str, list[Target]] = {FLOOR: [Target(f"{stack.settings.diga_base_url}/.well-known/{METADATA}")]}
    for patient in stack.patients:
        tokens = await stack.pair(GLUKOBUCH, patient, [CGM])
        newest = (await diga.search(tokens, "Observation", NEWEST))[0]
        json = {"authorization": f"Bearer {tokens.access_token}", "accept": "application/fhir+json"}
        for name, target in {
            "Observation read": Target(f"{base}/Observation/{newest['id']}", json),
            "search: newest chunk, both includes": Target(f"{search}&{urlencode(NEWEST)}", json),
            "search: 30 days, both includes": Target(search, json),
            "the same as XML": Target(search, json | {"accept": "application/fhir+xml"}),
        }.items():
            rounds.setdefault(name, []).append(target)
    return rounds


async def _measured(
    worker: psutil.Process, postgres: psutil.Process, targets: Sequence[Target], tls: ssl.SSLContext
) -> Load:
    await load(targets, tls, WARM_SECONDS)
    before, database_before = seconds(worker), sum(map(seconds, postgres.children()))
    rate = await load(targets, tls)
    cpu, database = seconds(worker) - before, sum(map(seconds, postgres.children())) - database_before
    return Load(rate, cpu / rate.requests * 1e6, database / rate.requests * 1e6)


def seconds(process: psutil.Process) -> float:
    """Processor time that a process has used; 0 for one that has just ended."""
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0


def _told(name: str, one: Load, floor: Load) -> Figure:
    cpu = f"CPU: worker {one.cpu_us:,.0f} us, database {one.database_us:,.0f} us"
    rate = one.rate.per_second
    return Figure(name, NAMES[name], rate, "/s", floor.rate.per_second, rate / floor.rate.per_second, more=cpu)


def _worker() -> psutil.Process:
    """The one worker process among our children."""
    (worker,) = (child for child in psutil.Process().children(recursive=True) if WORKER in child.cmdline())
    return worker


def _peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
