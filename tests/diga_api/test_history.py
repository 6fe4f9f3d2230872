"""With three years of data a request costs the same as with 40 days: nothing outside the history is touched."""

from __future__ import annotations

from uuid import uuid4

import pytest

from ddr.fhir.instants import instant
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, GLUCOSE, Backend, Body
from tests.support.history import measure, wear
from tests.support.touched import touched

INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"
MONTH, YEARS = 40, 3 * 365  # with a sensor from before the Historic-Data-Period of 30 days, both
MOST = 1.2  # as many times the blocks
WARM = 6  # after this many executions a statement has its final plan

_PATHS = [
    f"Observation?{INCLUDES}&_count=100",
    f"Observation?_sort=-date&_count=1&{INCLUDES}",
    f"Observation?_lastUpdated=gt{{now}}&{INCLUDES}",
    "Device",
    "DeviceMetric?_include=DeviceMetric:source",
    "Device?_revinclude=DeviceMetric:source&status=active",
    "Observation/{newest}",
]


async def blocks(requests: list[tuple[Backend, str]]) -> list[int]:
    """How many blocks the requests of each backend touch when both repeat them in turns."""
    found: list[list[int]] = [[] for _ in requests]
    for _ in range(WARM + 3):
        for (diga, path), taken in zip(requests, found, strict=True):
            await diga.rest()
            async with touched(diga.core.pool) as work:
                response = await diga.get(path)
            assert response.status_code == 200
            taken.append(work.blocks)
    return [min(taken[WARM:]) for taken in found]


async def newest(diga: Backend) -> str:
    bundle = await diga.bundle("Observation?_sort=-date&_count=1")
    identity: str = bundle["entry"][0]["resource"]["id"]
    return identity


@pytest.mark.parametrize("miv", [CGM, GLUCOSE])
async def test_history_costs_no_blocks(body: Body, pair: Pair, miv: str) -> None:
    fill = {CGM: wear, GLUCOSE: measure}[miv]
    young, old = body, Body(body.core)
    await fill(body.core, [uuid4() for _ in range(50)], MONTH)
    await fill(body.core, [young.patient_id], MONTH)
    await fill(body.core, [old.patient_id], YEARS)
    await body.core.pool.execute("ANALYZE")
    digas = [await pair(miv, of=of) for of in (young, old)]
    ids = [await newest(diga) for diga in digas]
    now = instant(body.core.clock())
    for path in _PATHS:
        requests = [(diga, path.format(now=now, newest=each)) for diga, each in zip(digas, ids, strict=True)]
        few, many = await blocks(requests)
        assert many <= MOST * few, path
