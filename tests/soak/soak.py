"""The soak itself: the scene, its participants, and what must hold at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from ddr.demo import clock
from ddr.demo.cast import GLUKOBUCH
from ddr.demo.chunks import samples_of
from ddr.demo.stack import DemoStack, Options
from ddr.demo.tls import client_context
from ddr.http.clock import now_ms
from tests.gateway.durability import Database
from tests.soak.caller import Caller
from tests.soak.chaos import Chaos
from tests.soak.gateways import BATCHES, DAY, DAYS, MINUTE, Gateway
from tests.soak.hostile import Hostile
from tests.soak.ledger import Ledger
from tests.soak.memory import Memory
from tests.soak.pollers import KINDS, Poller

PATIENTS = 5  # the last one's token is in bad hands
SETTLE_SECONDS = 20.0
POLL_PAUSE = 0.3
MOST_WORK = 0.25  # seconds; many small pieces of work in one turn, as handshakes of a crowd, are some
Json = dict[str, Any]


async def endure(folder: Path, seconds: float, seed: int) -> tuple[list[str], Counter[str]]:
    """Soak for so long; the report, and what did not hold with its number."""
    ledger, chance, database = Ledger(), random.Random(seed), Database(folder)
    with database.stack:
        await clock.install(database.url)
        options = Options(
            folder, "auto", PATIENTS, workers=2, grace_seconds=0, database_url=database.url, token_seconds=60
        )
        async with DemoStack(options) as stack, httpx.AsyncClient(timeout=5, trust_env=False) as admin:
            parties = Parties(stack, ledger, seconds, chance)
            await parties.begin()
            chaos, memory = Chaos(stack, database, ledger, chance), Memory()
            stop, begun = asyncio.Event(), time.monotonic()
            running = [asyncio.create_task(work) for work in parties.works(stop)]
            running.append(asyncio.create_task(memory.watch(stop, chaos.workers)))
            await chaos.run(begun + seconds * 0.6)
            chaos.spare_workers = True
            await chaos.run(begun + seconds)
            await asyncio.sleep(SETTLE_SECONDS)
            stop.set()
            await asyncio.gather(*running)
            await parties.judge()
            memory.judge(ledger)
            metrics = (await admin.get(f"http://127.0.0.1:{stack.settings.admin_port}/metrics")).text
            lags = [line for line in metrics.splitlines() if line.startswith("ddr_event_loop_l")]
            judge_loops(ledger, lags)
            await parties.end()
        database.stack.close()
    return [*ledger.report(), *parties.report(), *memory.report(), *lags], ledger.findings


def judge_loops(ledger: Ledger, lags: list[str]) -> None:
    """No request kept a worker's event loop busy: what the machine took from it does not count."""
    for line in lags:
        if line.startswith("ddr_event_loop_longest_work_seconds") and float(line.rpartition(" ")[2]) > MOST_WORK:
            ledger.found("an event loop was kept busy", line)


class Parties:
    """Everybody who talks to the recorder."""

    def __init__(self, stack: DemoStack, ledger: Ledger, seconds: float, chance: random.Random) -> None:
        self._stack, self._ledger, self._chance = stack, ledger, chance
        self._pause = max(0.1, 1.2 * seconds / BATCHES)
        self._clients: list[httpx.AsyncClient] = []
        self.gateways: list[Gateway] = []
        self.pollers: list[Poller] = []

    async def begin(self) -> None:
        """Register devices, and pair."""
        stack, start_ms = self._stack, now_ms() // MINUTE * MINUTE - DAYS * DAY
        good, bad = stack.patients[:-1], stack.patients[-1]
        settings = stack.settings
        for patient in good:
            caller = Caller(self._ledger, "gateway", self._client())
            seed = random.Random(self._chance.random())
            base = settings.gateway_base_url
            gateway = Gateway(caller, base, patient.gateway_token, start_ms, self._pause, seed)
            await gateway.register()
            tokens = await stack.pair(GLUKOBUCH, patient, GLUKOBUCH.mivs)
            caller = Caller(self._ledger, "poller", self._client(stack.certificate(GLUKOBUCH)))
            token_url = f"{settings.diga_base_url}/oauth/token"
            self.gateways.append(gateway)
            self.pollers.append(Poller(caller, settings.fhir_base, token_url, GLUKOBUCH.client_id, tokens))
        bases = (settings.public_base_url, settings.gateway_base_url)
        self.hostile = Hostile(
            self._ledger, bases, bad.gateway_token, client_context(Path(stack.settings.registry_ca)), self._chance
        )

    def works(self, stop: asyncio.Event) -> list[Any]:
        """What each of them does, until told to stop."""
        return [
            *(gateway.run(stop) for gateway in self.gateways),
            *(poller.run(stop, POLL_PAUSE) for poller in self.pollers),
            self._browse(stop),
            self.hostile.run(stop),
        ]

    async def _browse(self, stop: asyncio.Event) -> None:
        """Somebody at a browser."""
        caller = Caller(self._ledger, "browser", self._client())
        while not stop.is_set():
            for path in ("/login", "/status", "/fhir/metadata"):
                await caller.once("GET", self._stack.settings.public_base_url + path)
            await asyncio.sleep(1)

    async def judge(self) -> None:
        """Everything that was acknowledged is there once, and pollers know everything there is."""
        for gateway, poller in zip(self.gateways, self.pollers, strict=True):
            for kind in KINDS:
                while not await poller.poll(kind):
                    pass
            while not (everything := await poller.compare()):
                pass
            missing = [one for one in everything if f"{one['resourceType']}/{one['id']}" not in poller.known]
            if missing:
                self._ledger.found("a poller by cursor missed a resource", f"{len(missing)} of {len(everything)}")
            self._compare(gateway, [one for one in everything if one["resourceType"] == "Observation"])

    def _compare(self, gateway: Gateway, found: list[Json]) -> None:
        shown = [one for one in found if one["status"] != "entered-in-error"]
        values = samples_of(shown)
        for what, times in (
            ("readings", Counter(at for at, _ in values)),
            ("measurements", Counter(_effective(one) for one in shown if "effectiveDateTime" in one)),
        ):
            if twice := [time for time, count in times.items() if count > 1]:
                self._ledger.found(f"{what} are there twice", f"{len(twice)}: {twice[:3]}")
            wanted = gateway.answered if what == "readings" else gateway.measured
            if lost := [time for time in wanted if time not in times]:
                self._ledger.found(f"acknowledged {what} are lost", f"{len(lost)} of {len(wanted)}: {lost[:3]}")
        stored = dict(values)
        if wrong := [time for time, value in gateway.answered.items() if stored.get(time, value) != value]:
            self._ledger.found("readings have other values", f"{len(wrong)}: {wrong[:3]}")

    def report(self) -> list[str]:
        """How much was sent and seen."""
        readings = sum(len(one.answered) for one in self.gateways)
        measured = sum(len(one.measured) for one in self.gateways)
        polls, versions = sum(one.polls for one in self.pollers), sum(len(one.contents) for one in self.pollers)
        return [f"{readings} readings and {measured} measurements acknowledged; {polls} polls saw {versions} versions"]

    async def end(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    def _client(self, own: Any = None) -> httpx.AsyncClient:
        self._clients.append(self._stack.client(own))
        return self._clients[-1]


def _effective(observation: Json) -> int:
    return round(datetime.fromisoformat(observation["effectiveDateTime"]).timestamp() * 1000)
