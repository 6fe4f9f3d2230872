"""Where patients are spread, a poll's query is sent together with its admission, and answered only if that allows it.

One PostgreSQL acts as several servers; with Citus itself: make citus-test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from ddr.http.core import Core
from ddr.oauth.keys import Keys
from ddr.store.database.each_there import Statement
from ddr.store.database.pool import open_pool
from ddr.store.database.sealing import key_encryption_key
from ddr.store.search.view import View
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, GLUCOSE, PRESSURE, Backend, Body
from tests.support.citus import be_as_if_spread, one_server_only
from tests.support.clock import Clock
from tests.support.counting import counted
from tests.support.database import migrated_database
from tests.support.pooler import direct_only

pytestmark = [one_server_only, direct_only]
STATEMENT = "ddr.diga_api.search.first_page_statement"
POLLS = (
    "Observation?code=99504-3,2339-0,85354-9&_lastUpdated=gt2020-01-01",
    "Observation?_sort=-date&_count=2&_include=Observation:device",
    "Device?_lastUpdated=gt2020-01-01T00:00:00Z",
)


@pytest.fixture
async def core(core: Core, database_url: str) -> AsyncIterator[Core]:
    """A Core that takes its patients for spread over servers."""
    async with migrated_database(database_url) as url:
        await be_as_if_spread(url)
        settings = replace(core.settings, database_url=url, database_pool_size=1)
        async with await open_pool(settings) as pool:
            pool.servers.spread = True
            keys = await Keys.load(pool, key_encryption_key(settings, make=True), core.clock())
            yield replace(core, settings=settings, pool=pool, signer=keys)


async def alone(diga: Backend, path: str) -> dict[str, Any]:
    """The result when the search runs after the admission."""
    with patch(STATEMENT, return_value=None):
        return await diga.bundle(path)


@pytest.mark.parametrize("path", POLLS)
async def test_the_same_is_told_in_one_call_less(body: Body, pair: Pair, path: str) -> None:
    await body.cgm()
    await body.measurement(GLUCOSE, "2339-0", body.core.clock())
    diga = await pair(CGM, GLUCOSE, PRESSURE)
    calls = []
    for asked in (alone, Backend.bundle, alone, Backend.bundle):
        await diga.rest()
        async with counted(body.core.pool) as statements:
            bundle = await asked(diga, path)
        calls.append(sum("ddr_" in text for text in statements))
        assert bundle["total"] > 0
    assert calls[2:] == [2, 1]
    await diga.rest()
    by_itself = await alone(diga, path)
    await diga.rest()
    assert (await diga.bundle(path))["entry"] == by_itself["entry"]


async def test_a_read_takes_one_call(body: Body, pair: Pair) -> None:
    """One call for each type; a resource that the DiGA may not see is unknown, as before."""
    device_no, epoch_no, chunks = await body.cgm()
    value = await body.measurement(GLUCOSE, "2339-0", body.core.clock())
    ids = body.core.ids
    known = [f"Observation/{one}" for one in (chunks[0], value)]
    known += [f"Device/{ids.device(device_no)}", f"DeviceMetric/{ids.metric(epoch_no)}"]
    unknown = [f"Observation/{await Body(body.core).measurement(GLUCOSE, '2339-0', 0)}", "Observation/x"]
    diga = await pair(CGM, GLUCOSE)
    before = [await diga.get(path) for path in (*known, *unknown)]
    assert [answer.status_code for answer in before] == [200] * 4 + [404] * 2
    for path, first in zip((*known, *unknown), before, strict=True):
        await diga.get(path)  # prepared together with the admission
        async with counted(body.core.pool) as statements:
            answer = await diga.get(path)
        assert answer.status_code == first.status_code
        if answer.status_code == 200:
            assert answer.content == first.content
            assert sum("ddr_" in text for text in statements) == 1


async def test_what_is_new_is_told(body: Body, pair: Pair) -> None:
    diga = await pair(GLUCOSE)
    totals = []
    for number in range(3):
        await diga.rest()
        totals.append((await diga.bundle(POLLS[0]))["total"])
        await body.measurement(GLUCOSE, "2339-0", body.core.clock() - number)
    assert totals == [0, 1, 2]


async def test_nothing_is_told_that_may_be_seen_no_more(body: Body, pair: Pair) -> None:
    """The query that was sent with the admission relied on the rights of the admission before."""
    await body.cgm()
    await body.measurement(GLUCOSE, "2339-0", body.core.clock())
    diga = await pair(CGM, GLUCOSE)
    everything = (await diga.bundle(POLLS[0]))["total"]
    await diga.rest()
    await body.core.pool.execute(
        "UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1 AND miv_url = $2",
        body.patient_id,
        body.miv(GLUCOSE).valueset,
    )
    assert (await diga.bundle(POLLS[0]))["total"] == everything - 1


REFUSALS: dict[str, tuple[int, str | None]] = {
    "a period that runs": (429, None),
    "all consents withdrawn": (401, "UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1"),
    "the pairing ended": (401, "UPDATE pairing SET ended_ms = 1, end_reason = 'patient' WHERE patient_id = $1"),
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_who_is_refused_asks_nothing(body: Body, pair: Pair, clock: Clock, why: str) -> None:
    """A statement that writes takes the query's place, so that its execution would be noticed."""
    status, change = REFUSALS[why]
    diga = await pair(CGM)

    def writes(view: View, *_: object) -> Statement:
        return Statement(
            "UPDATE pairing SET created_ms = 5 WHERE patient_id = $1 RETURNING 1::bigint", (view.patient_id,)
        )

    assert (await diga.get(POLLS[0])).status_code == 200
    if change is not None:
        await diga.rest()
        await body.core.pool.execute(change, body.patient_id)
    with patch(STATEMENT, writes):
        assert (await diga.get(POLLS[0])).status_code == status
        assert await created(body) != 5
    if change is None:
        await diga.rest()
        with patch(STATEMENT, writes), patch("ddr.diga_api.search.first_page", side_effect=OSError):
            assert (await diga.get(POLLS[0])).status_code == 503
        assert await created(body) == 5, "who is admitted does"


async def created(body: Body) -> int:
    found: int = await body.core.pool.fetchval("SELECT created_ms FROM pairing WHERE patient_id = $1", body.patient_id)
    return found
