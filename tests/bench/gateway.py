"""Uploads of gateways against the bare statement, a large backlog, and what a repetition writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson

from ddr.fhir.instants import date_time
from ddr.gateway.app import create_gateway
from ddr.http.core import Core
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.series.chunks import _APPEND as APPEND
from tests.bench.table import Row
from tests.gateway.conftest import CGM

SENSORS, UPLOADS, SIZE = 48, 20, 12
AT_ONCE = 8
PERIOD = 300_000
BACKLOG, MOST_SECONDS = 40_000, 2.0
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


async def run(core: Core) -> list[Row]:
    """All figures, of new patients."""
    return [*await _uploads(core), *await _backlog(core)]


async def _uploads(core: Core) -> list[Row]:
    await _pushed(core)  # a first time, so that connections, plans and caches are as in a running worker
    rate, patients = await _pushed(core)
    floor = await _floor(core.pool, patients)
    share = rate / floor
    return [
        Row(f"gateway: uploads of {SIZE} readings", f"{rate:,.0f}/s", f"bare statement {floor:,.0f}/s"),
        Row("gateway: share of the bare statement's rate", f"{share:.0%}", "at least 50%", share >= 0.5),
    ]


async def _pushed(core: Core) -> tuple[float, list[Patient]]:
    """Uploads per second of new patients, all by appending; the requests are written beforehand."""
    start = core.clock() // 1000 * 1000 - 20 * 3_600_000
    patients = [await _patient(core, start, PERIOD) for _ in range(SENSORS)]
    for patient in patients:
        await patient.upload(_items(start, 0, 1, PERIOD))
    rounds = [_body(_items(start, 1 + at * SIZE, SIZE, PERIOD)) for at in range(UPLOADS - 1)]
    seconds = await _timed(lambda patient, at: patient.request("POST", READINGS, rounds[at]), patients, len(rounds))
    return SENSORS * len(rounds) / seconds, patients


def _body(items: Items) -> bytes:
    return orjson.dumps({"unit": "mg/dL", "readings": items})


async def _floor(pool: asyncpg.Pool, patients: list[Patient]) -> float:
    """How often per second this process can run the statement that an upload comes down to, on the same rows."""
    rows = await pool.fetch(
        """SELECT patient_id, epoch_no, k, version, octet_length(vals) AS length, octet_length(times) AS kept, last_ms
             FROM chunk WHERE patient_id = ANY($1::uuid[]) AND status = 'p' ORDER BY patient_id""",
        [patient.patient_id for patient in patients],
    )

    async def append(row: asyncpg.Record, at: int) -> None:
        length = row["length"] + 2 * SIZE * at
        await pool.fetchval(
            APPEND, row["patient_id"], row["epoch_no"], row["k"], row["version"] + at, length, row["kept"] + at,
            b"\x0c", b"\x01\x00" * SIZE, row["last_ms"], 5, "p", 0,
        )  # fmt: skip

    return len(rows) * UPLOADS / await _timed(append, rows, UPLOADS)


async def _timed(work: Callable[[Any, int], Awaitable[Any]], workers: Iterable[Any], rounds: int) -> float:
    """Seconds in which each of `workers` has done its rounds, AT_ONCE of them at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def all_rounds(worker: Any) -> None:
        async with gate:
            for at in range(rounds):
                await work(worker, at)

    began = time.perf_counter()
    await asyncio.gather(*(all_rounds(worker) for worker in workers))
    return time.perf_counter() - began


async def _backlog(core: Core) -> list[Row]:
    period = 60_000
    start = core.clock() // 1000 * 1000 - (BACKLOG + 1) * period
    patient = await _patient(core, start, period)
    items = _items(start, 0, BACKLOG, period)
    began = time.perf_counter()
    assert await patient.upload(items) == BACKLOG
    seconds = time.perf_counter() - began
    wal = {size: await _wal(core.pool, patient, items[-size:]) for size in (SIZE, BACKLOG)}
    return [
        Row(f"gateway: {BACKLOG:,} readings in one upload", f"{seconds:.2f} s", "at most 2 s", seconds <= MOST_SECONDS),
        *(
            Row(f"gateway: WAL of {size:,} readings again", f"{least} bytes", "0", not least)
            for size, least in wal.items()
        ),
    ]


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
