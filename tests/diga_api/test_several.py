"""Concurrent reads are batched, and answered as if each had come alone."""

from __future__ import annotations

import asyncio
from typing import Any

from httpx import Response

from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, PRESSURE, Backend, Body
from tests.support.citus import one_server_only
from tests.support.company import company
from tests.support.counting import counted

ADMISSION, SEARCH = "standing", "match AS MATERIALIZED"  # what their statements contain


@one_server_only
async def test_reads_at_once_are_as_one_after_the_other(body: Body, pair: Pair) -> None:
    """Reads of two patients and all kinds, of what is out of the period, of another patient, and of nothing."""
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
    for at in range(0, len(asked), 8):
        some = asked[at : at + 8]
        async with counted(body.core.pool) as statements:
            with company(len(some) - 1, ADMISSION):
                at_once = await asyncio.gather(*(diga.get(path) for diga, path in some))
        assert sum(ADMISSION in text for text in statements) == 2  # the first one alone, and the others together
        for before, after in zip(one_by_one[at : at + 8], at_once, strict=True):
            assert after.status_code == before.status_code
            assert after.status_code == 404 or after.content == before.content  # an OperationOutcome has an id


BRIEF = (
    "Observation?_sort=-date&_count=1&_include=Observation:device&_include:iterate=DeviceMetric:source",
    "Observation?_lastUpdated=gt2020-01-01T00:00:00Z&_include=Observation:device",
    "Observation?_lastUpdated=ge2020-01-01&_lastUpdated=le2100-01-01&_sort=date&_include=Observation:derived-from",
    "Observation?_lastUpdated=gt2100-01-01T00:00:00Z",
)


@one_server_only
async def test_searches_at_once_are_as_one_after_the_other(body: Body, pair: Pair) -> None:
    """Searches that share a statement, for the newest value and as polls, each for a patient of its own."""
    first = await pair(CGM, GLUCOSE, PRESSURE)
    backends = [first]
    for number in range(4):
        other = Body(body.core)
        second = Backend(body.core, first.diga, first.certificate, other.patient_id)
        await second.pair([body.miv(name).valueset for name in (CGM, GLUCOSE, PRESSURE)])
        second.client = first.client
        backends.append(second)
        await other.cgm()
        for days in range(number):
            await other.measurement(GLUCOSE, "2339-0", body.core.clock() - days * DAY)
    await body.cgm()
    for path in BRIEF:
        one_by_one = [_told(await diga.get(path)) for diga in backends]
        await _rest(backends)
        async with counted(body.core.pool) as statements:
            with company(len(backends) - 1, SEARCH):
                at_once = await asyncio.gather(*(diga.get(path) for diga in backends))
        await _rest(backends)
        assert [_told(answer) for answer in at_once] == one_by_one
        assert sum(SEARCH in text for text in statements) == 2, path
    assert len({str(told) for told in one_by_one}) == 1, "nothing is new in the future"
    assert {len(told["entry"]) for told in [_told(await diga.get(BRIEF[1])) for diga in backends]} != {0}


async def _rest(backends: list[Backend]) -> None:
    """No Grace-Period runs any more."""
    for diga in backends:
        await diga.rest()


def _told(answer: Response) -> dict[str, Any]:
    """The parts of a searchset that do not depend on when it was requested."""
    assert answer.status_code == 200, answer.text
    bundle = answer.json()
    return {"total": bundle["total"], "entry": bundle.get("entry", [])}
