"""What workers add: 1, 2 and 4 of them behind one listening socket, as the recorder runs in production.

Each number is a separate host on one database, and they alternate; the client is a separate process, with enough
connections per worker to keep it busy. Where client, database and workers share the processors, rates cannot show what
a worker adds. The cost of a request for all workers together, beyond their cost when idle, can: it rises when they
hinder each other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddr.demo import recorder
from ddr.demo.cast import GLUKOBUCH
from ddr.fhir.instants import parse_instant
from tests.bench.clients import Client, Order, clients_of
from tests.bench.figure import NONE, Figure, Goal, against
from tests.bench.scene import MODULE, Scene, scene, workers_of
from tests.bench.serving import NEWEST
from tests.bench.turns import Processes, Seen, driven_in_turns

EACH = 8  # connections for a worker: as many a DiGA has in hand there
IDLE_SECONDS = 3.0
DAYS = 2  # of readings: what is asked for is the newest
NUMBERS = (1, 2, 4)
WORKS: Mapping[str, str] = {"read": "Observation read", "poll": "poll with nothing new"}
TWICE = Goal(least=1.7)  # two workers, on processors of their own
FLAT = Goal(most=1.1)  # processor time of a request; it moves by about a tenth from run to run
ELSEWHERE = 2  # processors that client and database want besides those of the workers


Idle = tuple[float, float]
"""Seconds of processor time in a second in which nobody asks: of the workers, and of the database."""


@dataclass(frozen=True)
class Host:
    """The port on which some workers listen, and these."""

    port: int
    processes: Processes

    def connections(self) -> str:
        """How many of clients each worker has, as 8+8."""
        counts = [
            sum(1 for each in worker.net_connections("tcp") if each.raddr and each.laddr.port == self.port)
            for worker in self.processes.workers
        ]
        return "+".join(map(str, counts))


async def run(folder: Path, rounds: int, duration: float) -> list[Figure]:
    """Rates and processor time of each number of workers against one."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(scene(folder / "workers", EACH * NUMBERS[-1], DAYS))
        hosts = {1: Host(one.stack.settings.diga_port, one.processes)}
        for number in NUMBERS[1:]:
            hosts[number] = await stack.enter_async_context(_host(one, folder / f"host{number}", number))
        ports = [(host.port, EACH * number) for number, host in hosts.items()]
        asked = await stack.enter_async_context(clients_of(await _order(one, ports)))
        drives = {f"{work}@{number}": asked(work, host.port) for work in WORKS for number, host in hosts.items()}
        processes = {f"{work}@{number}": host.processes for work in WORKS for number, host in hosts.items()}
        idle = await _idle(hosts)
        seen = await driven_in_turns(drives, processes, rounds, duration)
        spread = {number: host.connections() for number, host in hosts.items()}
    seen = {name: beyond(idle[int(name.partition("@")[2])], one) for name, one in seen.items()}
    return [figure for work in WORKS for figure in figures(work, seen, spread, os.cpu_count() or 1)]


async def _idle(hosts: Mapping[int, Host]) -> dict[int, Idle]:
    """What each host takes when nobody asks."""
    before = {number: host.processes.seconds() for number, host in hosts.items()}
    await asyncio.sleep(IDLE_SECONDS)
    found = {}
    for number, host in hosts.items():
        workers, database = host.processes.seconds()
        found[number] = (workers - before[number][0]) / IDLE_SECONDS, (database - before[number][1]) / IDLE_SECONDS
    return found


def beyond(idle: Idle, seen: Seen) -> Seen:
    """The same without what is taken when nobody asks."""
    workers, database = idle
    return replace(
        seen,
        worker_us=_without(workers, seen.worker_us, seen.per_second),
        database_us=_without(database, seen.database_us, seen.per_second),
    )


def _without(idle: float, us: Sequence[float], per_second: Sequence[float]) -> list[float]:
    return [cost - idle * 1e6 / rate for cost, rate in zip(us, per_second, strict=True)]


@asynccontextmanager
async def _host(one: Scene, folder: Path, workers: int) -> AsyncIterator[Host]:
    """A further host of the same recorder, with a state directory and ports of its own."""
    folder.mkdir()  # noqa: ASYNC240 - at once
    own = one.stack.settings
    changed: dict[str, Any] = {
        **dict(zip(recorder.LISTENERS, recorder.free_ports(len(recorder.LISTENERS)), strict=True)),
        "state_dir": folder,
        "embedded": False,
        "database_url": one.stack.database_url,
        "key_encryption_key": (own.state_dir / "key-encryption.key").read_text().strip(),
        "workers": workers,
    }
    settings = replace(own, **changed)
    file = folder / "serve.toml"
    async with recorder.serving(settings, file, folder / "serve.log", (MODULE,)):
        yield Host(settings.diga_port, Processes(workers_of(file), one.processes.postgres))


async def _order(one: Scene, ports: Sequence[tuple[int, int]]) -> Order:
    diga, own = await one.stack.diga(GLUKOBUCH), one.stack.certificate(GLUKOBUCH)
    clients = []
    for paired in one.pairings:
        newest = (await diga.search(paired.tokens, "Observation", NEWEST))[0]
        clients.append(Client(paired.tokens, newest["id"], parse_instant(newest["meta"]["lastUpdated"])))
    base, ca = one.stack.settings.diga_base_url, one.stack.description()["ca"]
    return Order(base, ports, ca, str(own.cert), str(own.key), GLUKOBUCH.client_id, clients)


def figures(work: str, seen: Mapping[str, Seen], spread: Mapping[int, str], processors: int) -> list[Figure]:
    """Of `work` (one of WORKS): its rates, and what it costs workers and database; `seen` by work and number."""
    alone = seen[f"{work}@1"]
    found = [alone.figure(f"workers_{work}_1", f"{WORKS[work]}, one worker, {EACH} connections", alone)]
    for number in NUMBERS[1:]:
        many, text = seen[f"{work}@{number}"], f"{WORKS[work]}, {number} workers against one"
        goal, name = TWICE if number == 2 else NONE, f"workers_{work}_{number}"
        crowded = f" ({processors} processors for all: no measure)" if processors < number + ELSEWHERE else ""
        rate = many.figure(name, text + crowded, alone, goal)
        found += [
            replace(rate, more=f"{rate.more}, connections {spread[number]}"),
            against(f"{name}_cpu", f"{text}, CPU of all workers", "us", many.worker_us, alone.worker_us, FLAT),
            against(f"{name}_database", f"{text}, CPU of the database", "us", many.database_us, alone.database_us),
        ]
    return found
