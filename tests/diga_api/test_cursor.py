"""A DiGA that polls from the newest timestamp it has seen misses nothing, whoever else writes (RS-036, CGM-010)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import httpx
import pytest

from ddr.fhir.instants import date_time
from ddr.http.admission import Admission
from ddr.http.clock import now_ms
from ddr.http.core import Core
from ddr.oauth.keys import Keys
from ddr.store.database.pool import open_pool
from ddr.store.database.sealing import key_encryption_key
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.registries import terminology
from ddr.store.series.bulk import append_all
from ddr.store.series.sensors import Remembered, load
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, GLUCOSE, HOUR, LOINC, MINUTE, Backend, Body, fhir_client
from tests.gateway.conftest import make_client
from tests.support.waiting import waiting

Cursor = Callable[[dict[str, Any]], str]
TYPES = ("Observation", "Device", "DeviceMetric")
ROUNDS = 12
APART_MS = 5000
HOST_CONNECTIONS = 4


def newest_entry(bundle: dict[str, Any]) -> str:
    """The newest timestamp among the entries, or "" when there is none."""
    return max((entry["resource"]["meta"]["lastUpdated"] for entry in bundle.get("entry", ())), default="")


def of_bundle(bundle: dict[str, Any]) -> str:
    """The cursor that the response offers."""
    found: str = bundle["meta"]["lastUpdated"]
    return found


@dataclass
class Poller:
    """Asks for everything newer than its cursor of each type; `known` holds the last content by reference."""

    diga: Backend
    cursor_of: Cursor
    cursors: dict[str, str] = field(default_factory=lambda: dict.fromkeys(TYPES, "2000-01-01T00:00:00Z"))
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def poll(self) -> None:
        for kind in TYPES:
            await self.diga.rest()
            bundle = await self.diga.bundle(f"{kind}?_count=1000&_lastUpdated=gt{quote(self.cursors[kind])}")
            for entry in bundle.get("entry", ()):
                resource = entry["resource"]
                assert resource["meta"]["lastUpdated"] > self.cursors[kind]
                self.known[f"{kind}/{resource['id']}"] = resource
            self.cursors[kind] = max(self.cursors[kind], self.cursor_of(bundle))

    async def until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self.poll()

    async def visible(self) -> dict[str, dict[str, Any]]:
        """What is visible now, by reference."""
        found: dict[str, dict[str, Any]] = {}
        for kind in TYPES:
            await self.diga.rest()
            bundle = await self.diga.bundle(f"{kind}?_count=1000")
            found |= {f"{kind}/{entry['resource']['id']}": entry["resource"] for entry in bundle.get("entry", ())}
        return found

    async def missed(self) -> list[str]:
        """What is visible but unknown to the poller. Device.status may change over time without a new timestamp."""
        return [
            name
            for name, resource in (await self.visible()).items()
            if _without_status(self.known.get(name)) != _without_status(resource)
        ]


def _without_status(resource: dict[str, Any] | None) -> dict[str, Any]:
    found = dict(resource or {})
    if found.get("resourceType") == "Device":
        del found["status"]
    return found


@pytest.fixture
async def core(core: Core) -> Core:
    """A recorder whose timestamps are the database's."""
    signer = await Keys.load(core.pool, key_encryption_key(core.settings, make=True), now_ms())
    return replace(core, signer=signer, clock=now_ms, steer=None)


@pytest.fixture
async def body(core: Core) -> Body:
    found = Body(core, uuid4())
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", found.patient_id)
    return found


@asynccontextmanager
async def host(core: Core, body: Body, ahead_ms: int) -> AsyncIterator[tuple[Core, httpx.AsyncClient]]:
    """Another host on the same database with a different clock, and the patient's gateway that uses it."""
    async with await open_pool(replace(core.settings, database_pool_size=HOST_CONNECTIONS)) as pool:
        own = {"pool": pool, "sensors": Remembered(), "admission": Admission(HOST_CONNECTIONS)}
        there = replace(core, clock=lambda: now_ms() + ahead_ms, **own)
        token = await gateway_tokens.create(pool, body.patient_id, now_ms())
        async with make_client(there, token) as client:
            yield there, client


async def ok(request: Awaitable[httpx.Response]) -> httpx.Response:
    response = await request
    assert response.status_code < 300, response.text
    return response


async def sent(send: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Send as a gateway does: again, for as long as the recorder says that the same data is being changed."""
    while (response := await send()).status_code == 503:
        assert response.json()["code"] == "busy"
    assert response.status_code < 300, response.text


async def furnish(client: httpx.AsyncClient, start: int) -> None:
    """Two sensors and a meter, all without values yet."""
    for key in ("a", "b", "meter"):
        facts = {"serialNumber": key, "name": key, "manufacturer": "M", "startedAt": date_time(start)}
        await ok(client.put(f"/devices/{key}", json=facts))
    for key in ("a", "b"):
        sensor = {
            "code": "99504-3",
            "unit": "mg/dL",
            "samplingPeriodMs": 5 * MINUTE,
            "calibration": {"state": "not-calibrated"},
        }
        await ok(client.put(f"/devices/{key}/sensors/s", json=sensor))


def readings(times: range, value: int) -> dict[str, Any]:
    return {"unit": "mg/dL", "readings": [{"time": date_time(time), "value": value} for time in times]}


async def continuous(client: httpx.AsyncClient, device: str, start: int, chance: random.Random) -> None:
    """Uploads that are appended and uploads that are merged, some taken back, calibrations and ends of waiting."""
    path, at = f"/devices/{device}/sensors/s", start
    for turn in range(ROUNDS):
        await ok(
            client.post(f"{path}/readings", json=readings(range(at, at + 12 * 5 * MINUTE, 5 * MINUTE), 100 + turn))
        )
        at += 12 * 5 * MINUTE
        late = range(start + turn * HOUR + MINUTE, start + (turn + 3) * HOUR, 7 * MINUTE)
        match chance.randrange(5):
            case 0:
                await ok(client.post(f"{path}/readings", json=readings(late, 200 + turn)))
            case 1:
                await ok(client.post(f"{path}/readings", json=readings(late, 300 + turn) | {"upload": f"u{turn}"}))
                await ok(client.delete(f"{path}/uploads/u{turn}"))
            case 2:
                state = chance.choice(("calibrated", "calibration-required"))
                event = {"time": date_time(start + turn * HOUR + 1), "state": state}
                await ok(client.post(f"{path}/calibrations", json={"calibrations": [event]}))
            case 3:
                await ok(client.post(f"{path}/complete", json={"until": date_time(at)}))
            case _:
                facts = {"serialNumber": device, "name": f"{device} {turn}", "manufacturer": "M"}
                await ok(client.put(f"/devices/{device}", json=facts))


async def single(client: httpx.AsyncClient, start: int, name: str = "m") -> None:
    """Measurements that are sent, corrected and deleted."""
    for turn in range(ROUNDS):
        for value in (100 + turn, 200 + turn):
            glucose = {
                "code": "2339-0",
                "unit": "mg/dL",
                "device": "meter",
                "effective": date_time(start + turn * HOUR),
            }
            await ok(client.put(f"/measurements/{name}{turn}", json=glucose | {"value": value}))
        if turn % 4 == 3:
            await ok(client.delete(f"/measurements/{name}{turn}"))


async def bridged(core: Core, body: Body, start: int) -> None:
    """A cloud bridge that appends to one of the sensors, too."""
    for turn in range(ROUNDS * 2):
        sensor = await load(core.pool, body.patient_id, "b", "s")
        if sensor is not None and sensor.tail is not None:
            time = max(sensor.tail.last_ms, start) + 5 * MINUTE
            await append_all(core.pool, [(sensor, [(time, 90 + turn)])], core.clock())
        await asyncio.sleep(0.02)


@pytest.mark.requirement("RS-036", "CGM-010")
@pytest.mark.parametrize("cursor_of", [newest_entry, of_bundle])
async def test_nothing_is_missed_beside_racing_writers(core: Core, body: Body, pair: Pair, cursor_of: Cursor) -> None:
    start = now_ms() // HOUR * HOUR - 40 * HOUR
    chance, done = random.Random(7), asyncio.Event()
    poller = Poller(await pair(), cursor_of)
    async with host(core, body, 0) as (_, one), host(core, body, APART_MS) as (ahead, other):
        await furnish(one, start)
        polling = asyncio.create_task(poller.until(done))
        try:
            async with asyncio.TaskGroup() as writers:
                writers.create_task(continuous(one, "a", start, chance))
                writers.create_task(continuous(other, "b", start, chance))
                writers.create_task(single(other, start))
                writers.create_task(bridged(ahead, body, start))
        finally:
            done.set()
            await polling
        await poller.poll()
        assert await poller.missed() == []
        assert len(poller.known) > 10


@pytest.mark.requirement("RS-036", "CGM-010")
@pytest.mark.parametrize("cursor_of", [newest_entry, of_bundle])
async def test_a_writer_that_waits_hides_nothing(core: Core, body: Body, pair: Pair, cursor_of: Cursor) -> None:
    """It has its timestamp and waits for a lock, while others write and a DiGA polls."""
    start = now_ms() // HOUR * HOUR - 20 * HOUR
    async with host(core, body, 0) as (_, one), host(core, body, -APART_MS) as (_, other):
        await furnish(one, start)
        for device in ("a", "b"):
            await ok(one.post(f"/devices/{device}/sensors/s/readings", json=readings(range(start, start + 1), 100)))
        poller = Poller(await pair(), cursor_of)
        await poller.poll()
        late = readings(range(start + HOUR, start + 3 * HOUR, 10 * MINUTE), 120)
        async with core.pool.acquire() as conn, conn.transaction():
            await conn.execute(
                """SELECT FROM sensor s JOIN device d USING (patient_id, device_no)
                    WHERE patient_id = $1 AND device_key = 'a' FOR UPDATE OF s""",
                body.patient_id,
            )
            url, upload = "/devices/{}/sensors/s/readings", late | {"upload": "late"}
            held_up = asyncio.create_task(sent(lambda: one.post(url.format("a"), json=upload)))
            await locked_out(core.pool, 1)
            facts = {"serialNumber": "b", "name": "B", "manufacturer": "M"}
            behind = [
                asyncio.create_task(sent(lambda: other.post(url.format("b"), json=late))),
                asyncio.create_task(sent(lambda: other.put("/devices/b", json=facts))),
            ]
            for _ in range(3):  # on a slow machine, longer than a lock is waited for
                await poller.poll()
        await asyncio.gather(held_up, *behind)
        await poller.poll()
        assert await poller.missed() == []


async def locked_out(pool: asyncpg.Pool, count: int) -> None:
    """Wait until this many sessions of this database wait for a lock."""
    async with asyncio.timeout(60):
        while await waiting(pool) < count:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


@pytest.mark.requirement("RS-036", "CGM-010")
async def test_stamps_grow_though_the_clock_of_the_database_goes_back(core: Core, body: Body, pair: Pair) -> None:
    """A failover to a host whose clock is behind, by an hour here; `steer` stands for the database's clock."""
    start, behind = now_ms() // HOUR * HOUR - 20 * HOUR, [0]
    core = replace(core, steer=lambda: now_ms() - behind[0])
    diga = await pair()
    diga.client = fhir_client(core, diga.certificate)
    poller = Poller(diga, newest_entry)
    async with host(core, body, 0) as (_, client):
        await furnish(client, start)
        for device in ("a", "b"):
            await ok(client.post(f"/devices/{device}/sensors/s/readings", json=readings(range(start, start + 1), 99)))
        await single(client, start)
        await poller.poll()
        behind[0] = HOUR
        before = dict(poller.known)
        changes = asyncio.gather(
            continuous(client, "a", start + HOUR, random.Random(1)),
            continuous(client, "b", start + HOUR, random.Random(2)),
            single(client, start + 30 * MINUTE, "n"),
        )
        while not changes.done():
            await poller.poll()
        await changes
        sensor = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 5 * MINUTE, "displayUnit": "mmol/L"}
        await ok(client.put("/devices/a/sensors/s", json=sensor | {"calibration": {"state": "not-calibrated"}}))
        await ok(client.put("/devices/meter", json={"serialNumber": "meter", "name": "New", "manufacturer": "M"}))
        await poller.poll()
        assert await poller.missed() == []
        for name, resource in before.items():
            assert poller.known[name]["meta"]["lastUpdated"] >= resource["meta"]["lastUpdated"]


@pytest.mark.requirement("RS-036", "REG-010")
async def test_data_of_a_code_that_comes_back_are_new(core: Core, body: Body, pair: Pair) -> None:
    _, epoch_no, chunks = await body.cgm()
    meter = await body.glucose_meter()
    glucose = await body.measurement(GLUCOSE, "2339-0", now_ms() - HOUR, device_no=meter)
    poller = Poller(await pair(GLUCOSE, CGM), newest_entry)
    await poller.poll()
    assert len(poller.known) == 7
    mivs = [(body.miv(CGM), "99504-3"), (body.miv(GLUCOSE), "2339-0")]
    try:
        for miv, code in mivs:
            others = [(one.system, one.code) for one in miv.codes if one.code != code]
            await terminology.activate(core.pool, miv.name, "", miv.valueset, [(LOINC, code)], others, now_ms())
        await poller.poll()
        assert await poller.missed() == [] and await poller.visible() == {}
    finally:
        for miv, _ in mivs:
            present = [(one.system, one.code) for one in miv.codes]
            await terminology.activate(core.pool, miv.name, "", miv.valueset, [], present, now_ms())
    before, poller.known = poller.known, {}
    await poller.poll()
    assert await poller.missed() == []
    assert poller.known.keys() == before.keys()
    assert f"Observation/{glucose}" in poller.known and f"Observation/{chunks[0]}" in poller.known
    assert f"DeviceMetric/{core.ids.metric(epoch_no)}" in poller.known
    assert all(poller.known[name]["meta"]["versionId"] == before[name]["meta"]["versionId"] for name in before)
