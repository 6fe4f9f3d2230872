"""A repeated upload is answered and writes nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from tests.gateway.conftest import CGM, Client, put_device, put_sensor
from tests.support.clock import Clock

READINGS = "/devices/cgm/sensors/glucose/readings"
PERIOD, COUNT = 300_000, 700
TABLES = ("chunk", "epoch", "sensor", "device", "upload", "calibration", "audit", "patient")


async def tuples(pool: asyncpg.Pool, patient_id: UUID) -> dict[str, set[tuple[Any, ...]]]:
    """Where each row of the patient is, and who wrote and locked it: any WAL for a row changes one of these."""
    found = {}
    for table in TABLES:
        query = f"SELECT ctid, xmin, xmax FROM {table} WHERE patient_id = $1"
        found[table] = {tuple(row) for row in await pool.fetch(query, patient_id)}
    return found


@pytest.mark.parametrize("part", [slice(None), slice(-12, None), slice(100, 112), slice(0, COUNT, 7)])
async def test_a_repeated_upload_touches_no_row(
    client: Client, clock: Clock, core: Core, patient_id: UUID, part: slice
) -> None:
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    first_ms = clock() - COUNT * PERIOD
    items = [{"time": date_time(first_ms + at * PERIOD), "value": 100 + at % 90} for at in range(COUNT)]
    for batch in (items[: COUNT // 2], items[COUNT // 2 :]):
        answer = await client.post(READINGS, json={"unit": "mg/dL", "readings": batch})
        assert answer.json()["accepted"] == len(batch)
    before = await tuples(core.pool, patient_id)
    assert len(before["chunk"]) > 2
    for _ in range(2):
        answer = await client.post(READINGS, json={"unit": "mg/dL", "readings": items[part]})
        assert answer.json()["duplicate"] == len(items[part])
    assert await tuples(core.pool, patient_id) == before
