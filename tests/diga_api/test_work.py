"""The cost of a DiGA's requests is fixed here: a change that costs more has to change this test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from ddr.fhir.instants import instant
from ddr.http.core import Core
from ddr.scopes.diga import Diga
from tests.diga_api.world import CGM, Backend, Body
from tests.support.clock import Clock
from tests.support.history import wear
from tests.support.pooler import direct_only
from tests.support.trust import FakeTrust
from tests.support.work import Work, among_others, work_of

INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"

# Three statements each: the admission with its claim, the data, and the record with its entry of the audit trail.
LIMITS = {
    "Observation/{newest}": Work(statements=3, blocks=52, fetched=27, written=4, wal=1_300, transactions=2),
    f"Observation?_sort=-date&_count=1&{INCLUDES}": Work(
        statements=3, blocks=87, fetched=64, written=4, wal=1_400, transactions=2
    ),
    f"Observation?_count=100&{INCLUDES}": Work(
        statements=3, blocks=118, fetched=104, written=4, wal=1_400, transactions=2
    ),
    f"Observation?_lastUpdated=gt{{now}}&{INCLUDES}": Work(
        statements=3, blocks=84, fetched=62, written=4, wal=1_400, transactions=2
    ),
}


AT_ONCE = 8

# The same for as many patients at once: one goes first, the others share admission, reading and record. A search's own
# statement is not shared. More rows than for each by itself: tables as small as these are read whole.
TOGETHER = {
    "Observation/{newest}": Work(statements=10, blocks=400, fetched=540, written=32, wal=10_000, transactions=6),
    f"Observation?_sort=-date&_count=1&{INCLUDES}": Work(
        statements=16, blocks=670, fetched=820, written=32, wal=11_000, transactions=6
    ),
}


@direct_only
async def test_requests_take_no_more_than_this(core: Core, trust: FakeTrust, clock: Clock) -> None:
    async with among_others(core) as core:
        body = Body(core)
        patients = [body.patient_id, *(uuid4() for _ in range(AT_ONCE - 1))]
        await wear(core, patients, 30)
        miv = body.miv(CGM)
        entry = Diga(
            "urn:diga:bfarm:work", "W", "M", True, "https://d.example/cb", frozenset(), frozenset({miv.valueset})
        )
        digas = [Backend(core, trust.add(entry, b"work"), b"work", patient_id) for patient_id in patients]
        newest = [await _paired(digas[0], miv.valueset)]
        for path, most in LIMITS.items():
            work = await _work(core, clock, path, digas[:1], newest)
            assert work <= most, (path, work)
        for diga in digas[1:]:
            diga.client = digas[0].client  # one application, as in a worker
            newest.append(await _paired(diga, miv.valueset))
        for path, most in TOGETHER.items():
            work = await _work(core, clock, path, digas, newest)
            assert work <= most, (path, work)


async def _paired(diga: Backend, valueset: str) -> str:
    """The id of the newest Observation that the DiGA now reads."""
    await diga.pair([valueset])
    newest: str = (await diga.bundle("Observation?_sort=-date&_count=1"))["entry"][0]["resource"]["id"]
    return newest


async def _work(core: Core, clock: Clock, path: str, digas: Sequence[Backend], newest: Sequence[str]) -> Work:
    """What it costs the database when these ask at once, each for its own patient."""

    async def request() -> None:
        clock.ms += 1_000_000
        for diga in digas:
            diga.token = diga.signed()
        now = instant(clock())
        asked = (diga.get(path.format(newest=one, now=now)) for diga, one in zip(digas, newest, strict=False))
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}

    return await work_of(core.pool, request)
