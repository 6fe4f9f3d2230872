"""The work of a DiGA's requests is pinned: a change that costs more has to say so here."""

from __future__ import annotations

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
    "Observation/{newest}": Work(statements=3, blocks=52, fetched=27, written=4, wal=1_700, transactions=2),
    f"Observation?_sort=-date&_count=1&{INCLUDES}": Work(
        statements=3, blocks=87, fetched=64, written=4, wal=1_800, transactions=2
    ),
    f"Observation?_count=100&{INCLUDES}": Work(
        statements=3, blocks=118, fetched=104, written=4, wal=1_800, transactions=2
    ),
    f"Observation?_lastUpdated=gt{{now}}&{INCLUDES}": Work(
        statements=3, blocks=84, fetched=62, written=4, wal=1_800, transactions=2
    ),
}


@direct_only
async def test_requests_take_no_more_than_this(core: Core, trust: FakeTrust, clock: Clock) -> None:
    async with among_others(core) as core:
        body = Body(core)
        await wear(core, [body.patient_id], 30)
        miv = body.miv(CGM)
        entry = Diga(
            "urn:diga:bfarm:work", "W", "M", True, "https://d.example/cb", frozenset(), frozenset({miv.valueset})
        )
        diga = Backend(core, trust.add(entry, b"work"), b"work", body.patient_id)
        await diga.pair([miv.valueset])
        newest = (await diga.bundle("Observation?_sort=-date&_count=1"))["entry"][0]["resource"]["id"]
        for path, most in LIMITS.items():
            filled = path.format(newest=newest, now=instant(clock()))

            async def request(path: str = filled) -> None:
                clock.ms += 1_000_000
                diga.token = diga.signed()
                assert (await diga.get(path)).status_code == 200

            work = await work_of(core.pool, request)
            assert work <= most, (path, work)
