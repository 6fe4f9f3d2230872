"""The cost of a usual upload is fixed here: a change that costs more has to change this test."""

from __future__ import annotations

import pytest

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.store.gateways import tokens as gateway_tokens
from tests.gateway.conftest import CGM, make_client, put_device, put_sensor
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.work import Work, among_others, work_of

PERIOD = 300_000
# The token and the append; a sign of life once a minute, and the use of the token once an hour.
UPLOADS = {
    1: Work(statements=2, blocks=30, fetched=10, written=3, wal=700, transactions=1),
    12: Work(statements=3, blocks=36, fetched=12, written=4, wal=900, transactions=2),
}


@pytest.mark.parametrize("readings", UPLOADS)
@one_server_only
async def test_an_upload_takes_no_more_than_this(core: Core, clock: Clock, readings: int) -> None:
    async with among_others(core) as core:
        patient_id = await core.pool.fetchval("SELECT patient_id FROM patient LIMIT 1")
        client = make_client(core, await gateway_tokens.create(core.pool, patient_id, clock()))
        await put_device(client, "cgm", **CGM)
        await put_sensor(client, "cgm", "glucose")

        async def request() -> None:
            first_ms = clock.ms
            clock.ms += readings * PERIOD
            items = [{"time": date_time(first_ms + at * PERIOD), "value": 100 + at} for at in range(readings)]
            body = {"readings": items, "unit": "mg/dL"}
            answer = await client.post("/devices/cgm/sensors/glucose/readings", json=body)
            assert answer.json()["accepted"] == readings

        work = await work_of(core.pool, request)
        assert work <= UPLOADS[readings], work
