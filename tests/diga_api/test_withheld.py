"""No response with data is sent before its entry of the audit trail is durable, and the record says what was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import asyncpg
import orjson
import pytest

from ddr.call import CURRENT, Call
from ddr.http.core import Core
from ddr.http.request_log.log import PATIENCE_SECONDS, RequestLog
from ddr.http.watch import FEW
from ddr.operations.status.functions import DATA
from ddr.store.audit import request_log as store
from ddr.store.audit.trail import Event, NewEntry
from ddr.store.database.faults import UNAVAILABLE
from tests.diga_api.conftest import Pair
from tests.diga_api.test_access import events
from tests.diga_api.world import CGM, Body
from tests.support.request_log import fresh_lines


@pytest.fixture
async def core(core: Core, tmp_path: Path) -> Core:
    """With a request log of its own."""
    return replace(core, request_log=RequestLog(core.pool, tmp_path))


async def records(core: Core, transaction: str) -> list[dict[str, Any]]:
    """What the database's log contains about a request."""
    lines = [orjson.loads(line) for line in await fresh_lines(core.pool)]
    return [line for line in lines if line["transaction_id"] == transaction]


async def test_record_and_entry_are_one(body: Body, pair: Pair) -> None:
    diga = await pair(CGM)
    answer = await diga.get("Observation")
    (record,) = await records(body.core, answer.headers["x-request-id"])
    assert (record["status"], record["pairing_id"]) == (200, diga.pairing_id)
    assert [event for event, _ in await events(diga)] == [Event.DATA_READ]


@pytest.mark.parametrize("late", [False, True])
async def test_an_answer_whose_entry_is_not_stored_is_withheld(body: Body, pair: Pair, late: bool) -> None:
    diga = await pair(CGM)
    released = asyncio.Event()

    async def failing(*of: object) -> None:
        if late:
            await released.wait()
        raise ConnectionError

    with patch.object(store, "add", failing), patch("ddr.http.request_log.log.PATIENCE_SECONDS", 0.05):
        answer = await diga.get("Observation")
        released.set()
    issue = answer.json()["issue"][0]
    assert (answer.status_code, issue["code"], issue["diagnostics"]) == (503, "transient", UNAVAILABLE.detail)
    assert answer.headers["retry-after"] == str(UNAVAILABLE.retry_seconds)
    assert await events(diga) == []
    await body.core.request_log.recover()
    (record,) = await records(body.core, answer.headers["x-request-id"])
    assert (record["status"], record["error_code"]) == (503, "transient")


async def test_an_answer_that_is_withheld_is_counted_as_what_is_said_instead(body: Body, pair: Pair) -> None:
    """This holds for a refused token and for a successful search: alerts count these reasons."""
    diga = await pair(CGM)

    async def failing(*of: object) -> None:
        raise ConnectionError

    with patch.object(store, "add", failing):
        for token in ("none", diga.token):
            CURRENT.set(call := Call())
            assert (await diga.get("Observation", authorization=f"Bearer {token}")).status_code == 503
            assert call.reason == UNAVAILABLE.code


async def test_answers_that_are_withheld_are_failures_alone(body: Body, pair: Pair) -> None:
    """The public status reports that nothing is answered, not that some requests fail."""
    diga = await pair(CGM)

    async def failing(*of: object) -> None:
        raise ConnectionError

    with patch.object(store, "add", failing):
        for _ in range(FEW):
            assert (await diga.get("Observation", authorization="Bearer none")).status_code == 503
    assert body.core.watch.failing(body.core.clock()) == {DATA: 1}


async def test_a_process_that_stood_still_hears_first_what_the_database_has_answered(body: Body, pair: Pair) -> None:
    """During a pause of its machine or with a busy event loop the time limit for the database does not run."""
    diga, add = await pair(CGM), store.add

    async def held(conn: asyncpg.Connection, batch: store.Batch, entries: Sequence[NewEntry], *of: Any) -> None:
        storing = asyncio.create_task(add(conn, batch, entries, *of))
        await asyncio.sleep(0)  # the question reaches the database
        time.sleep(PATIENCE_SECONDS + 0.1)  # noqa: ASYNC251 - as the machine does
        await storing

    with patch.object(store, "add", held):
        assert (await diga.get("Observation")).status_code == 200


async def test_a_withheld_answer_does_not_begin_the_grace_period(body: Body, pair: Pair) -> None:
    diga, add = await pair(CGM), store.add

    async def failing(conn: asyncpg.Connection, batch: store.Batch, entries: Sequence[NewEntry], *of: Any) -> None:
        if entries:
            raise ConnectionError
        await add(conn, batch)

    with patch.object(store, "add", failing):
        assert (await diga.get("Observation")).status_code == 503
    assert (await diga.get("Observation")).status_code == 200
    assert (await diga.get("Observation")).status_code == 429


async def test_a_database_that_goes_away_after_the_admission_is_told_as_any_other(body: Body, pair: Pair) -> None:
    """The claim of the Grace-Period cannot be taken back then either; that is done when the database is back."""
    diga, core = await pair(CGM), body.core

    async def away(*of: object) -> None:
        raise ConnectionError

    with patch.object(store, "add", away), patch.object(type(core.pool), "execute", away):
        answer = await diga.get("Observation")
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (503, "transient")
        assert answer.headers["retry-after"] == str(UNAVAILABLE.retry_seconds)
        with pytest.raises(ConnectionError):
            await core.grace_claims.flush(core.pool)
    await core.grace_claims.flush(core.pool)
    assert (await diga.get("Observation")).status_code == 200
    assert (await diga.get("Observation")).status_code == 429


@pytest.mark.parametrize(
    ("statement", "path"),
    [
        ("ddr.diga_api.search.first_page", "Observation"),
        ("ddr.diga_api.read.read", "Device/{device}"),
        ("ddr.diga_api.operation.continuous_chunks", "Observation/$hddt-cgm-summary"),
    ],
)
@pytest.mark.parametrize("failure", [ConnectionError, ZeroDivisionError])
async def test_who_was_admitted_and_got_no_data_has_read_nothing(
    body: Body, pair: Pair, statement: str, path: str, failure: type[Exception]
) -> None:
    device = body.core.ids.device(await body.device())
    diga = await pair(CGM)
    with patch(statement, AsyncMock(side_effect=failure)):
        answer = await diga.get(path.format(device=device))
    assert answer.status_code == (503 if failure is ConnectionError else 500)
    ((event, detail),) = await events(diga)
    assert (event, detail["reason"], "valuesets" in detail) == (Event.DATA_REFUSED, "unanswered", False)
    assert (await diga.get(path.format(device=device))).status_code in (200, 404)
    assert [event for event, _ in await events(diga)] == [Event.DATA_REFUSED, Event.DATA_READ]


async def test_whoever_hangs_up_before_the_answer_has_read_nothing(body: Body, pair: Pair) -> None:
    diga, asked = await pair(CGM), asyncio.Event()

    async def slow(*of: object) -> None:
        asked.set()
        await asyncio.sleep(60)

    with patch("ddr.diga_api.search.first_page", slow):
        request = asyncio.create_task(diga.get("Observation"))
        await asked.wait()
        request.cancel()
        await asyncio.wait([request])
    await body.core.request_log.close()
    ((event, detail),) = await events(diga)
    assert (event, detail["reason"]) == (Event.DATA_REFUSED, "unanswered")
