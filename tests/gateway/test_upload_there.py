"""Uploads where patients are spread: the same responses and rows as on one server, with as few calls as possible.

One PostgreSQL acts as several servers; with Citus itself: make citus-test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.imports.calls import KEY
from ddr.store.database.pool import open_pool
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.series.sensors import Remembered
from tests.gateway.conftest import CGM, Client, make_client, put_device, put_sensor
from tests.support.citus import be_as_if_spread, one_server_only
from tests.support.clock import Clock
from tests.support.counting import counted
from tests.support.database import migrated_database
from tests.support.pooler import direct_only

pytestmark = [one_server_only, direct_only]
WHO = UUID(int=7)
MINUTE = 60_000
ROWS = (
    "SELECT measurement_key, miv_url, code, device_no, effective_ms, value, unit, content, status, version, updated_ms"
    " FROM measurement ORDER BY measurement_no",
    "SELECT content, status, version, updated_ms FROM measurement_version ORDER BY measurement_no, version",
    "SELECT device_key, heard_ms, updated_ms FROM device ORDER BY device_no",
    "SELECT k, times, vals, last_ms, filled, status, version, updated_ms FROM chunk ORDER BY epoch_no, k",
    "SELECT stamp_ms FROM patient",
)


@asynccontextmanager
async def gateway(core: Core, database_url: str, *, spread: bool) -> AsyncIterator[tuple[Client, asyncpg.Pool]]:
    """The gateway of one patient in a database of its own."""
    async with migrated_database(database_url) as url:
        if spread:
            await be_as_if_spread(url)
        settings = replace(core.settings, database_url=url, database_pool_size=1)
        async with await open_pool(settings) as pool:
            pool.servers.spread = spread
            own = replace(core, settings=settings, pool=pool, sensors=Remembered())
            await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", WHO)
            token = await gateway_tokens.create(pool, WHO, core.clock())
            async with make_client(own, token) as client:
                await put_device(client, "meter")
                await put_device(client, "cgm", **CGM)
                await put_sensor(client, "cgm", "glucose")
                yield client, pool


def glucose(key: str, at_ms: int, value: object, **members: Any) -> dict[str, Any]:
    fixed = {"key": key, "code": "2339-0", "device": "meter", "unit": "mg/dL", "effective": date_time(at_ms)}
    return {**fixed, "value": value, **members}


async def sent(client: Client, pool: asyncpg.Pool, clock: Clock) -> tuple[list[Any], list[Any]]:
    """Uploads of all kinds: the responses, and what is stored afterwards."""
    now_ms, answers = clock.ms, []

    async def post(*items: dict[str, Any]) -> None:
        answers.append((await client.post("/measurements", json={"measurements": items})).json())

    await post(glucose("a", now_ms - 5 * MINUTE, 100), glucose("b", now_ms - 4 * MINUTE, 110.50))
    await post(glucose("a", now_ms - 5 * MINUTE, 100), glucose("b", now_ms - 4 * MINUTE, 120))  # again, and corrected
    await post(glucose("c", now_ms - 3 * MINUTE, 90), glucose("x", now_ms, 90, device="?"), glucose("d", now_ms, "?"))
    await post(glucose("e", now_ms, 90, device="other"), glucose("f", now_ms, 101))  # an unknown device
    await post(glucose(f"{KEY}1", now_ms - 3 * MINUTE, 90), glucose(f"{KEY}2", now_ms - 9 * MINUTE, 70))  # an import
    await post(glucose("g", now_ms - 9 * MINUTE, 70))  # in place of what an import brought
    await post(*(glucose(f"m{number}", now_ms - number * 50 * MINUTE, 90 + number) for number in range(30)))  # many
    for number in range(3):
        clock.ms += 5 * MINUTE
        items = [{"time": date_time(clock.ms), "value": 100 + number}]
        path = "/devices/cgm/sensors/glucose/readings"
        answers.append((await client.post(path, json={"unit": "mg/dL", "readings": items})).json())
    return answers, [[tuple(row) for row in await pool.fetch(text)] for text in ROWS]


async def test_the_same_is_answered_and_stored(core: Core, database_url: str, clock: Clock) -> None:
    began, found = clock.ms, []
    for spread in (False, True):
        clock.ms = began
        async with gateway(core, database_url, spread=spread) as (client, pool):
            found.append(await sent(client, pool, clock))
    one, there = found
    assert there == one
    results = [item.get("result", item.get("status")) for answer in one[0] for item in answer["items"]]
    assert {"created", "updated", "unchanged", "rejected", "accepted"} == set(results)


async def test_how_often_the_database_is_asked(core: Core, database_url: str, clock: Clock) -> None:
    """Each statement travels to a coordinator and from there to a server."""
    async with gateway(core, database_url, spread=True) as (client, pool):
        await sent(client, pool, clock)
        async with counted(pool) as statements:
            await client.put("/measurements/z", json=_without_key(glucose("z", clock.ms, 100)))
        # the token, whether the account is active, BEGIN, the lock timeout, reading, a number, writing, COMMIT
        assert len(statements) == 8, statements
        clock.ms += 5 * MINUTE
        async with counted(pool) as statements:
            body = {"unit": "mg/dL", "readings": [{"time": date_time(clock.ms), "value": 100}]}
            await client.post("/devices/cgm/sensors/glucose/readings", json=body)
        assert len(statements) == 3, statements


def _without_key(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "key"}
