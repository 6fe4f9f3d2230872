"""The running recorder under load: searches and reads against its own static floor, and the memory of a worker."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import psutil

from ddr.demo.cast import GLUKOBUCH
from ddr.demo.curves import DAY_MS
from ddr.demo.stack import DemoStack, Options
from ddr.demo.tls import client_context
from ddr.demo.upload import send_everything
from ddr.http.clock import now_ms
from tests.bench.load import Rate, load
from tests.bench.table import Row

CGM = "continuous-glucose-measurement"
MEMORY_MB = 200  # what one worker may take in the demonstration
FLOOR = "static document over mTLS (the floor)"
WORKER = "ddr.cli.serving.worker"
INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"


async def run(folder: Path) -> list[Row]:
    """Rates of one worker with 30 days of one patient's glucose behind it."""
    options = Options(state_dir=folder / "serving", ports="auto", patients=10, grace_seconds=0)
    async with DemoStack(options) as stack:
        now = now_ms()
        await send_everything(stack, now - 30 * DAY_MS, now, None)
        tokens = await stack.pair(GLUKOBUCH, stack.patients[1], [CGM])
        diga = await stack.diga(GLUKOBUCH)
        newest = (await diga.search(tokens, "Observation", {"_sort": "-date", "_count": "1"}))[0]
        headers = {"authorization": f"Bearer {tokens.access_token}", "accept": "application/fhir+json"}
        tls = client_context(Path(stack.description()["ca"]), stack.certificate(GLUKOBUCH))
        base = stack.settings.fhir_base
        searches = f"{base}/Observation?{INCLUDES}"
        targets = {
            FLOOR: (f"{stack.settings.diga_base_url}/.well-known/oauth-authorization-server", {}),
            "Observation read": (f"{base}/Observation/{newest['id']}", headers),
            "search: newest chunk, both includes": (f"{searches}&_sort=-date&_count=1", headers),
            "search: 30 days, both includes": (searches, headers),
            "the same as XML": (searches, headers | {"accept": "application/fhir+xml"}),
        }
        worker = _worker()
        loads = {name: await _measured(worker, url, tls, head) for name, (url, head) in targets.items()}
        memory = _peak_kb(worker.pid) / 1024
    return [
        *(Row(name, *_told(one, loads[FLOOR])) for name, one in loads.items()),
        Row("peak memory of the worker", f"{memory:.0f} MB", f"at most {MEMORY_MB} MB", memory <= MEMORY_MB),
    ]


@dataclass(frozen=True)
class Load:
    """A rate, and what it cost the worker."""

    rate: Rate
    cpu_us: float  # per request


async def _measured(worker: psutil.Process, url: str, tls: ssl.SSLContext, headers: dict[str, str]) -> Load:
    before = sum(worker.cpu_times()[:2])
    rate = await load(url, tls, headers)
    return Load(rate, (sum(worker.cpu_times()[:2]) - before) / rate.requests * 1e6)


def _told(one: Load, floor: Load) -> tuple[str, str]:
    share, times = one.rate.per_second / floor.rate.per_second, one.cpu_us / floor.cpu_us
    return f"{one.rate}, {one.cpu_us:,.0f} us CPU", f"{share:.0%} of the floor's rate, {times:.1f} x its CPU"


def _worker() -> psutil.Process:
    """The one worker process among our children."""
    (worker,) = (child for child in psutil.Process().children(recursive=True) if WORKER in child.cmdline())
    return worker


def _peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
