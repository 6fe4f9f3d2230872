"""How many statements a request sends to the database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddr.store.database.pool import open_pool
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, GLUCOSE, LUNG, Body, fhir_client
from tests.support.citus import one_server_only
from tests.support.counting import counted
from tests.support.pooler import direct_only

INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source&_include=Observation:derived-from"


_PLANS = "SELECT sum(generic_plans) FROM pg_prepared_statements WHERE statement LIKE $1"


@direct_only
@pytest.mark.parametrize("kinds", [(CGM,), (GLUCOSE, LUNG), (CGM, GLUCOSE, LUNG)])
@pytest.mark.parametrize(
    "path",
    [
        f"Observation?_sort=-date&_count=2&date=ge2026-11-01&date=lt2030-01-01&code=2339-0,105272-9&{INCLUDES}",
        "Device?_revinclude=DeviceMetric:source&_has:Observation:device:code=2339-0&_lastUpdated=gt2026-11-01",
        "DeviceMetric?_include=DeviceMetric:source",
    ],
)
async def test_no_search_is_planned_anew(body: Body, pair: Pair, kinds: tuple[str, ...], path: str) -> None:
    await body.cgm()
    async with await open_pool(body.core.settings, size=1) as pool:
        diga = await pair(*kinds)
        diga.client = fhir_client(replace(diga.core, pool=pool), diga.certificate)
        for _ in range(3):
            await diga.rest()
            assert (await diga.get(path)).status_code == 200
        # statements that are not kept cannot be observed
        assert await pool.fetchval(_PLANS, "%observations AS%") == 3


@one_server_only
@pytest.mark.parametrize(
    ("path", "most"),
    [
        (f"Observation?{INCLUDES}", 3),
        (f"Observation?_sort=-date&_count=2&date=ge2026-11-01&{INCLUDES}", 3),
        ("Device?_revinclude=DeviceMetric:source&_has:Observation:device:code=2339-0", 3),
        ("DeviceMetric?_include=DeviceMetric:source", 3),
        ("Observation/{chunk}", 3),
        ("Observation/{chunk}/_history/1", 3),
        ("Observation?foo=1", 1),
    ],
)
async def test_statements_per_request(body: Body, pair: Pair, path: str, most: int) -> None:
    _, _, chunks = await body.cgm()
    await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    diga = await pair(CGM, GLUCOSE, LUNG)
    await diga.get("Device")  # the first request of a pairing notes what it sees
    await diga.rest()
    async with counted(body.core.pool) as statements:
        response = await diga.get(path.format(chunk=chunks[0]))
    assert response.status_code in (200, 400)
    assert len(statements) == most
    assert all("patient_id" in statement for statement in statements[:-1])  # the last statement writes the record
