"""A recorder in this process on a database with a crowd, and those of its patients that are used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import orjson

from ddr.app import create_apps
from ddr.fhir.instants import date_time, instant, parse_instant
from ddr.http.asgi import ASGIApp
from ddr.http.clock import now_ms
from ddr.http.core import Core
from ddr.http.request_log.log import RequestLog
from ddr.store.database.pool import open_pool
from ddr.store.gateways import tokens as gateway_tokens
from tests.bench.caller import INCLUDES
from tests.bench.crowd import fill
from tests.bench.inside import Backend, ask
from tests.gateway.conftest import CGM as CGM_DEVICE
from tests.oauth.backend import DigaBackend, new_diga
from tests.support.database import migrated_database
from tests.support.history import wear
from tests.support.recorder import Recorder

ASKED, OLD = 64, 8  # patients with a month, and with three years
CGM = "continuous-glucose-measurement"
NEWEST = f"Observation?_sort=-date&_count=1&{INCLUDES}"
MONTH = f"Observation?_count=100&{INCLUDES}"
YEARS = 3 * 365
PERIOD_MS, SENT_MS = 60_000, 20 * 3_600_000  # between readings that gateways send, and how long ago they begin


@dataclass
class Patient:
    """One who is asked for, by a DiGA and through a gateway."""

    backend: Backend
    newest: str  # the id of an Observation
    cursor: str  # nothing has changed since
    gateway: ASGIApp
    token: str
    address: str  # of the gateway: those of one share few turns
    sent_ms: int  # the time of the last reading

    async def poll(self) -> int:
        """With nothing new."""
        return len(await self.backend.poll(f"Observation?_lastUpdated=gt{self.cursor}&{INCLUDES}"))

    async def upload(self) -> int:
        """One reading, the next one."""
        self.sent_ms += PERIOD_MS
        body = orjson.dumps({"unit": "mg/dL", "readings": [{"time": date_time(self.sent_ms), "value": 111}]})
        fields = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        path = "/gateway/v1/devices/sent/sensors/s/readings"
        answer = await ask(self.gateway, "POST", path, fields, body, address=self.address)
        assert b'"accepted":1' in answer
        return len(answer)


@dataclass(frozen=True)
class Population:
    """So many patients, of whom some are asked for."""

    pool: asyncpg.Pool
    core: Core
    apps: dict[str, ASGIApp]
    patient_ids: Sequence[UUID]  # of those who are asked for
    asked: Sequence[Patient]
    old: Sequence[Patient]

    def turns(self, work: Callable[[Patient], Awaitable[int]], old: bool = False) -> Callable[[], Awaitable[int]]:
        """A step that does `work` for one patient after the other."""
        patients, at = self.old if old else self.asked, 0

        async def step() -> int:
            nonlocal at
            at += 1
            return await work(patients[at % len(patients)])

        return step


@asynccontextmanager
async def population(running: Recorder, folder: Path, patients: int, entries: int = 0) -> AsyncIterator[Population]:
    """A database of its own on the server of `running`. The first `entries` numbers of the audit trail stay free."""
    async with migrated_database(running.settings.database_url) as url:
        settings = replace(running.settings, database_url=url)
        async with await open_pool(settings) as pool:
            core = replace(
                running.core,
                settings=settings,
                pool=pool,
                clock=now_ms,
                steer=None,
                request_log=RequestLog(pool, folder / str(patients)),
            )
            terms, valueset = core.catalog.terms, core.catalog.by_name(CGM)
            assert valueset is not None
            terms[valueset.valueset] = replace(terms[valueset.valueset], grace_seconds=0)
            if entries:
                await pool.execute("SELECT setval('audit_audit_no_seq', $1)", entries)
            asked, old = [uuid4() for _ in range(ASKED)], [uuid4() for _ in range(OLD)]
            await wear(core, asked, 30)
            await wear(core, old, YEARS)
            entry, certificate = new_diga(frozenset({valueset.valueset}))
            diga = DigaBackend(core, running.trust.add(entry, certificate), certificate)
            apps = create_apps(core)
            everybody = enumerate((*asked, *old))
            ready = [await _ready(core, apps, diga, patient_id, f"10.0.0.{at}") for at, patient_id in everybody]
            await fill(pool, asked[0], patients - len(ready))
            await _vacuum(url)
            yield Population(pool, core, apps, asked, ready[:ASKED], ready[ASKED:])
            await asyncio.sleep(0)


async def _vacuum(url: str) -> None:
    """By a connection without the pool's limits: among 100,000 patients it takes minutes."""
    conn = await asyncpg.connect(url)
    try:
        await conn.execute("VACUUM ANALYZE")
    finally:
        await conn.close()


async def _ready(core: Core, apps: dict[str, ASGIApp], diga: DigaBackend, patient_id: UUID, address: str) -> Patient:
    assert diga.certificate is not None
    backend = Backend(apps["diga"], diga.certificate, diga.diga.client_id, await diga.pair(patient_id))
    newest = orjson.loads(await backend.get("Observation?_sort=-date&_count=1"))["entry"][0]["resource"]
    cursor = instant(parse_instant(newest["meta"]["lastUpdated"]) + 60_000)
    token = await gateway_tokens.create(core.pool, patient_id, core.clock())
    started_ms = core.clock() // PERIOD_MS * PERIOD_MS - SENT_MS
    fields = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    for path, content in (
        ("devices/sent", {**CGM_DEVICE, "startedAt": date_time(started_ms)}),
        ("devices/sent/sensors/s", {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": PERIOD_MS}),
    ):
        await ask(apps["gateway"], "PUT", f"/gateway/v1/{path}", fields, orjson.dumps(content))
    return Patient(backend, newest["id"], cursor, apps["gateway"], token, address, started_ms)
