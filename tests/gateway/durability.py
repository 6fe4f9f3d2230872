"""Kills workers and PostgreSQL while gateways send, and compares what is stored with the responses to the gateways."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx

from ddr.fhir.instants import date_time
from ddr.http.clock import now_ms
from ddr.store.database.embedded import embedded
from ddr.store.database.errors import StoreError
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.series.chunks import readings_between
from ddr.store.series.sensors import load
from tests.cli.recorder import Recorder, settings_for
from tests.gateway.conftest import CGM
from tests.support.processes import send

PERIOD = 300_000
START = 1_790_000_000_000
CLIENTS = 4
BACK_SECONDS = 120


class Database:
    """An embedded server that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.url = self.stack.enter_context(embedded(folder))

    def pid(self) -> int:
        """The process id of the server."""
        pid_file = (self.folder / "postgres").resolve() / "data" / "postmaster.pid"
        return int(pid_file.read_text().split()[0])

    def kill(self) -> None:
        """kill -9 the server, and start it again: it recovers from its log."""
        send(self.pid())
        for _ in range(240):
            try:
                self.stack.close()
                self.stack = ExitStack()
                self.url = self.stack.enter_context(embedded(self.folder))
                return
            except StoreError:  # the processes of the killed server are still there
                time.sleep(0.5)
        raise AssertionError("the database does not start again")


@dataclass
class Gateway:
    """One patient's gateway: sends one reading after the other until it is told to stop."""

    patient_id: UUID
    client: httpx.Client
    sent: dict[int, int] = field(default_factory=dict)
    answered: dict[int, int] = field(default_factory=dict)
    failures: int = 0

    def run(self, stop: threading.Event) -> None:
        """Each batch is sent until it is answered, as docs/gateway-guide.md says."""
        at = 0
        while not stop.is_set():
            batch = {START + (at + step) * PERIOD: 60 + (at + step) % 300 for step in range(3)}
            self.sent.update(batch)
            items = [{"time": date_time(moment), "value": value} for moment, value in batch.items()]
            body = {"unit": "mg/dL", "readings": items}
            if self.post("POST", "devices/cgm/sensors/s/readings", body):
                self.answered.update(batch)
                at += 3
            else:
                self.failures += 1
                time.sleep(0.05)

    def post(self, method: str, path: str, body: object) -> bool:
        """True when the recorder has confirmed everything."""
        try:
            answer = self.client.request(method, path, json=body)
        except httpx.TransportError:
            return False
        return answer.status_code in (200, 201) and not answer.json().get("rejected")

    def register(self) -> None:
        """Device and sensor."""
        sensor = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": PERIOD}
        assert self.post("PUT", "devices/cgm", {**CGM, "startedAt": date_time(START)})
        assert self.post("PUT", "devices/cgm/sensors/s", sensor)


@contextmanager
def recorder(folder: Path, database: Database) -> Iterator[Recorder]:
    """Two workers on `database`."""
    running = Recorder(settings_for(folder, workers=2, database_url=database.url))
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(180)


async def gateways(database: Database, running: Recorder) -> list[Gateway]:
    """New patients with their gateways."""
    context = ssl.create_default_context(cafile=running.settings["state_dir"] / "authority.pem")
    base = f"https://localhost:{running.settings['gateway_port']}/gateway/v1/"
    connection = await asyncpg.connect(database.url)
    found = []
    for number in range(CLIENTS):
        patient = UUID(int=number + 1)
        await connection.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", patient)
        headers = {"authorization": f"Bearer {await gateway_tokens.create(connection, patient, now_ms())}"}
        found.append(Gateway(patient, httpx.Client(base_url=base, headers=headers, verify=context, timeout=10)))
    await connection.close()
    return found


async def stored(database: Database, gateway: Gateway, sensor_key: str = "s") -> dict[int, int]:
    """What the recorder has stored for a gateway."""
    async with asyncpg.create_pool(database.url, min_size=1, max_size=1) as pool:
        sensor = await load(pool, gateway.patient_id, "cgm", sensor_key)
        assert sensor is not None
        return dict(await readings_between(pool, sensor, 0, 2**53))


def answered_anew(clients: Sequence[Gateway]) -> None:
    """Wait until the recorder is back for all of them."""
    before, until = [len(client.answered) for client in clients], time.monotonic() + BACK_SECONDS
    while any(len(client.answered) <= known for client, known in zip(clients, before, strict=True)):
        assert time.monotonic() < until, "a gateway gets no answer any more"
        time.sleep(0.05)


def endure(folder: Path, seconds: float, seed: int = 1) -> list[str]:
    """Kill something about every half second; one line of the report per gateway. Raises AssertionError for a loss."""
    chance, stop, report, kills = random.Random(seed), threading.Event(), [], [0, 0]
    database = Database(folder)
    with database.stack, recorder(folder, database) as running:
        clients = asyncio.run(gateways(database, running))
        for client in clients:
            client.register()
        threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(chance.uniform(0.2, 0.8))
            if chance.random() < 0.25:
                database.kill()
                kills[1] += 1
            elif workers := running.workers():
                send(chance.choice(workers))
                kills[0] += 1
        answered_anew(clients)
        stop.set()
        for thread in threads:
            thread.join()
        for client in clients:
            found = asyncio.run(stored(database, client))
            lost = client.answered.items() - found.items()
            assert not lost, f"{len(lost)} readings were answered and are gone"
            assert found.items() <= client.sent.items(), "something is stored that nobody sent"
            report.append(f"{len(client.answered)} answered, {len(found)} stored, {client.failures} requests failed")
        database.stack.close()
    return [f"killed {kills[0]} workers, PostgreSQL {kills[1]} times", *report]
