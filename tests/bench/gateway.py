"""Uploads of gateways compared with the bare statement, a large backlog, and what a repetition writes."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson

from ddr.fhir.instants import date_time
from ddr.gateway.app import create_gateway
from ddr.http.core import Core
from ddr.store.gateways import tokens as gateway_tokens
from tests.bench.bare import bare_updates, timed
from tests.bench.figure import Figure, Goal, against
from tests.gateway.conftest import CGM

SENSORS, UPLOADS = 48, 20
AT_ONCE = 8
PERIOD = 300_000
BACKLOG = 40_000
NOTHING = Goal(most=0, promised=True)
REPEATS = 5
_LSN = "SELECT pg_current_wal_insert_lsn() - '0/0'"
SENSOR = {"code": "99504-3", "unit": "mg/dL"}

Items = list[dict[str, Any]]


class Patient:
    """One patient's gateway: requests straight into the application, without TLS and network."""

    def __init__(self, core: Core, patient_id: UUID, token: str) -> None:
        self.app = create_gateway(core)
        self.patient_id = patient_id
        self.token = token.encode()

    async def request(self, method: str, path: str, body: bytes) -> int:
        """The number of accepted readings, 0 for other answers."""
        headers = [(b"authorization", b"Bearer " + self.token), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": method, "path": f"/gateway/v1/{path}", "headers": headers, "client": None}
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        assert sent[0]["status"] < 300, sent[1]["body"]
        return int(orjson.loads(sent[1]["body"]).get("accepted", 0))

    async def upload(self, items: Items) -> int:
        """Send readings."""
        return await self.request("POST", READINGS, _body(items))


READINGS = "devices/cgm/sensors/s/readings"


async def run(core: Core, runs: int) -> list[Figure]:
    """All figures, of new patients; medians of so many `runs`."""
    await _pushed(core, 12, AT_ONCE)  # so that connections, plans and caches are as in a running worker
    return [
        await _uploads(core, runs, "upload12", 12, AT_ONCE, Goal(least=0.9)),
        await _uploads(core, runs, "upload1", 1, AT_ONCE, Goal(least=0.9)),
        await _uploads(core, runs, "upload12_64_gateways", 12, 64, Goal(least=1.2)),
        *await _backlog(core),
    ]


async def _uploads(core: Core, runs: int, name: str, size: int, at_once: int, target: Goal) -> Figure:
    rates, floors = [], []
    for _ in range(runs):
        rate, patients = await _pushed(core, size, at_once)
        rates.append(rate)
        ids = [patient.patient_id for patient in patients]
        floors.append(await bare_updates(core.pool, ids, size, UPLOADS, at_once))
    text = f"uploads of {size} readings against bare UPDATEs, {at_once} at once"
    return against(name, text, "/s", rates, floors, target)


async def _pushed(core: Core, size: int, at_once: int) -> tuple[float, list[Patient]]:
    """Uploads per second of new patients, all by appending; the requests are written beforehand."""
    start = core.clock() // 1000 * 1000 - 20 * 3_600_000
    patients = [await _patient(core, start, PERIOD) for _ in range(max(SENSORS, at_once))]
    for patient in patients:
        await patient.upload(_items(start, 0, 1, PERIOD))
    rounds = [_body(_items(start, 1 + at * size, size, PERIOD)) for at in range(UPLOADS - 1)]
    seconds = await timed(
        lambda patient, at: patient.request("POST", READINGS, rounds[at]), patients, len(rounds), at_once
    )
    return len(patients) * len(rounds) / seconds, patients


def _body(items: Items) -> bytes:
    return orjson.dumps({"unit": "mg/dL", "readings": items})


async def _backlog(core: Core) -> list[Figure]:
    period = 60_000
    start = core.clock() // 1000 * 1000 - (BACKLOG + 1) * period
    patient = await _patient(core, start, period)
    items = _items(start, 0, BACKLOG, period)
    began = time.perf_counter()
    assert await patient.upload(items) == BACKLOG
    seconds, floor = time.perf_counter() - began, await _copied(core.pool)
    wal = {size: await _wal(core.pool, patient, items[-size:]) for size in (12, BACKLOG)}
    text = f"{BACKLOG:,} readings in one upload against COPY of as many rows"
    return [
        Figure("upload_backlog", text, seconds, "s", floor, seconds / floor, Goal(most=10)),
        *(
            Figure(f"wal_upload_again_{size}", f"WAL of {size:,} readings again", least, "bytes", target=NOTHING)
            for size, least in wal.items()
        ),
    ]


async def _copied(pool: asyncpg.Pool) -> float:
    """Seconds of a COPY with one row per reading."""
    rows = [(at, at % 150) for at in range(BACKLOG)]
    async with pool.acquire() as connection:
        await connection.execute("CREATE TABLE copied (at_ms bigint PRIMARY KEY, value integer)")
        began = time.perf_counter()
        await connection.copy_records_to_table("copied", records=rows)
        seconds = time.perf_counter() - began
        await connection.execute("DROP TABLE copied")
    return seconds


async def _wal(pool: asyncpg.Pool, patient: Patient, items: Items) -> int:
    """Bytes of write-ahead log that an upload adds which was stored before.

    The server's own processes write now and then, too; so this is the least of several uploads.
    """
    least = []
    for _ in range(REPEATS):
        before = await pool.fetchval(_LSN)
        assert await patient.upload(items) == 0
        least.append(int(await pool.fetchval(_LSN)) - int(before))
    return min(least)


async def _patient(core: Core, start_ms: int, period_ms: int) -> Patient:
    patient_id = uuid4()
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", patient_id)
    patient = Patient(core, patient_id, await gateway_tokens.create(core.pool, patient_id, core.clock()))
    device = {**CGM, "startedAt": date_time(start_ms)}
    await patient.request("PUT", "devices/cgm", orjson.dumps(device))
    await patient.request("PUT", "devices/cgm/sensors/s", orjson.dumps(SENSOR | {"samplingPeriodMs": period_ms}))
    return patient


def _items(start_ms: int, first: int, count: int, period_ms: int) -> Items:
    return [
        {"time": date_time(start_ms + at * period_ms), "value": 100 + at % 150} for at in range(first, first + count)
    ]
