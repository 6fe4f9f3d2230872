"""Four times the load that one worker sustains: served requests stay fast, the rest is told to retry later.

Each round has first so few requests that they do not affect each other (light load), then as many as the worker can
answer (its sustainable rate), then four times as many, whether or not earlier ones are answered. The client is a
separate process (tests.bench.flood); everything goes through TLS with client certificates, for some seconds each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

from ddr.demo.cast import GLUKOBUCH
from ddr.demo.stack import DemoStack, Options
from ddr.demo.upload import send_everything
from ddr.durations import DAY_MS
from ddr.http.clock import now_ms
from tests.bench.caller import INCLUDES
from tests.bench.figure import Figure, Goal, against
from tests.bench.flood import Order, Seen, flood
from tests.bench.load import Target
from tests.bench.scene import CGM

WORKER = "ddr.cli.serving.worker"
TIMES = 4
MOST_RATIO = 3.0  # of p99 under overload to p99 under light load
LIGHT_PER_SECOND, LIGHT_SECONDS = 25.0, 16.0
SECONDS = 8.0  # of the rate that the worker sustains
FLOOD_SECONDS = 24.0  # the crowd of the first one or two is given patience, and answered late (ddr.http.admission)
BUSY, CROWD = (
    16,
    256,
)  # connections that keep a worker busy, and those of the flood: a handshake costs more than a request
PATIENTS, DAYS = 10, 30
MORE_MB = 64  # that the worker may take in the flood: a quarter for each connection, most of it buffers of TLS


async def run(folder: Path, rounds: int) -> list[Figure]:
    """The figures, and the promise: see MOST_RATIO."""
    options = Options(state_dir=folder / "overload", ports="auto", patients=PATIENTS, grace_seconds=0, faults=False)
    async with DemoStack(options) as stack:
        now = now_ms()
        await send_everything(stack, now - DAYS * DAY_MS, now, ())
        order = await _order(stack)
        process = worker()
        await flood(replace(order, rate=0, seconds=2, connections=BUSY))  # statements get prepared
        seen: list[Round] = []
        for _ in range(rounds):
            light = await flood(replace(order, rate=LIGHT_PER_SECOND, seconds=LIGHT_SECONDS))
            busy = await flood(replace(order, rate=0, connections=BUSY))
            before = _memory_mb(process)
            rate = TIMES * len(busy.served) / SECONDS
            heavy = await flood(replace(order, rate=rate, seconds=FLOOD_SECONDS, connections=CROWD))
            seen.append(Round(light, busy, heavy, _memory_mb(process) - before))
    return _figures(seen)


class Round(NamedTuple):
    """What was seen one after the other, and the memory that the worker took for the last."""

    light: Seen
    busy: Seen
    heavy: Seen
    more_mb: float


def _figures(seen: Sequence[Round]) -> list[Figure]:
    """Times and rates depend on the machine; that no request is lost does not."""
    light = [1000 * one.light.p(0.99) for one in seen]
    heavy = [1000 * one.heavy.p(0.99) for one in seen]
    busy = [len(one.busy.served) / SECONDS for one in seen]
    served = [len(one.heavy.served) / FLOOD_SECONDS for one in seen]
    lost = sum(one.light.failed + one.busy.failed + one.heavy.failed for one in seen)
    memory = max(one.more_mb for one in seen)
    last = seen[-1]
    return [
        Figure("overload_light_p99", f"light load, {LIGHT_PER_SECOND:.0f}/s: p99", median(light), "ms"),
        Figure("overload_sustained", f"rate that {BUSY} connections get", median(busy), "/s", more=str(last.busy)),
        Figure("overload_served", f"served at {TIMES} times that", median(served), "/s", more=str(last.heavy)),
        against("overload_p99", "p99 of what is served then", "ms", heavy, light, Goal(most=MOST_RATIO)),
        Figure("overload_lost", "requests without a good answer", lost, "", target=Goal(most=0, promised=True)),
        Figure("overload_memory_mb", "memory that the worker takes for it", memory, "MB", target=Goal(most=MORE_MB)),
    ]


async def _order(stack: DemoStack) -> Order:
    place, own = urlsplit(stack.settings.diga_base_url), stack.certificate(GLUKOBUCH)
    requests = []
    for patient in stack.patients:
        tokens = await stack.pair(GLUKOBUCH, patient, [CGM])
        fields = {"authorization": f"Bearer {tokens.access_token}", "accept": "application/fhir+json"}
        requests.append(Target(f"{stack.settings.fhir_base}/Observation?{INCLUDES}", fields).request.decode())
    assert place.hostname is not None and place.port is not None
    ca = stack.description()["ca"]
    return Order(place.hostname, place.port, ca, str(own.cert), str(own.key), requests, 0, SECONDS, BUSY)


def worker() -> psutil.Process:
    """The one worker process among our children."""
    (found,) = (child for child in psutil.Process().children(recursive=True) if WORKER in child.cmdline())
    return found


def _memory_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1024 / 1024
