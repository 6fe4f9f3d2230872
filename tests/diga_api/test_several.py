"""Reads that come at the same time go together, and are answered as if each had come by itself."""

from __future__ import annotations

import asyncio

from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, PRESSURE, Backend, Body
from tests.support.citus import one_server_only
from tests.support.counting import counted


@one_server_only
async def test_reads_at_once_are_as_one_after_the_other(body: Body, pair: Pair) -> None:
    """Of two patients and all kinds; beyond the period, of somebody else, and nothing at all."""
    first = await pair(CGM, GLUCOSE, PRESSURE)
    other = Body(body.core)
    second = Backend(body.core, first.diga, first.certificate, other.patient_id)
    await second.pair([body.miv(name).valueset for name in (CGM, GLUCOSE)])
    second.client = first.client
    asked = []
    for diga, of in ((first, body), (second, other)):
        device_no, epoch_no, chunks = await of.cgm()
        asked += [(diga, f"Observation/{chunk}") for chunk in chunks]
        asked += [(diga, f"Device/{body.core.ids.device(device_no)}")]
        asked += [(diga, f"DeviceMetric/{body.core.ids.metric(epoch_no)}")]
        for days in (0, 400):
            at_ms = body.core.clock() - days * DAY
            asked.append((diga, f"Observation/{await of.measurement(GLUCOSE, '2339-0', at_ms)}"))
    asked += [(second, asked[0][1]), (first, "Observation/x")]
    one_by_one = [await diga.get(path) for diga, path in asked]
    assert [answer.status_code for answer in one_by_one].count(200) == len(asked) - 4
    shared = []
    for at in range(0, len(asked), 8):
        async with counted(body.core.pool) as statements:
            at_once = await asyncio.gather(*(diga.get(path) for diga, path in asked[at : at + 8]))
        for before, after in zip(one_by_one[at : at + 8], at_once, strict=True):
            assert after.status_code == before.status_code
            assert after.status_code == 404 or after.content == before.content  # an OperationOutcome has an id
        shared.append(len(statements) < 2 * len(at_once))
    assert any(shared)  # not each time: nobody waits long for who goes by itself
