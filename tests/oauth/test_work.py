"""The cost of a token refresh is fixed here: a change that costs more has to change this test."""

from __future__ import annotations

from ddr.http.core import Core
from tests.oauth.backend import DigaBackend, new_diga
from tests.support.clock import Clock
from tests.support.trust import FakeTrust
from tests.support.work import Work, among_others, work_of

# The family with its consents and its rotation.
REFRESH = Work(statements=1, blocks=12, fetched=10, written=1, wal=200, transactions=1)


async def test_a_refresh_takes_no_more_than_this(core: Core, trust: FakeTrust, clock: Clock) -> None:
    async with among_others(core) as core:
        patient_id = await core.pool.fetchval("SELECT patient_id FROM patient LIMIT 1")
        entry, certificate = new_diga(frozenset(miv.valueset for miv in core.catalog.mivs))
        diga = DigaBackend(core, trust.add(entry, certificate), certificate)
        token = (await diga.pair(patient_id))["refresh_token"]

        async def request() -> None:
            nonlocal token
            clock.ms += 900_000
            answer = await diga.refresh(token)
            assert answer.status_code == 200
            token = answer.json()["refresh_token"]

        work = await work_of(core.pool, request)
        assert work <= REFRESH, work
