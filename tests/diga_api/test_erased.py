"""A DiGA polls while its patient is deleted: what admission writes about the patient is deleted, too."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.operations.housekeeping import steps
from ddr.store.audit.trail import record
from ddr.store.patients.erasure import AGAIN_MS, TABLES, delete_patient
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, Body
from tests.support.clock import Clock
from tests.support.waiting import waiting


async def left(pool: asyncpg.Pool, patient_id: UUID) -> Mapping[str, int]:
    """Rows of this patient by table."""
    counts = {
        table: await pool.fetchval(f"SELECT count(*) FROM {table} WHERE patient_id = $1", patient_id)
        for table in (*TABLES, "erased")
    }
    return {table: count for table, count in counts.items() if count}


@pytest.mark.parametrize("polled_before", [False, True])
async def test_a_poll_while_its_patient_is_deleted_leaves_nothing_for_long(
    core: Core, clock: Clock, body: Body, pair: Pair, monkeypatch: pytest.MonkeyPatch, polled_before: bool
) -> None:
    pool, patient_id = core.pool, body.patient_id
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0) ON CONFLICT DO NOTHING", patient_id)
    await body.cgm()
    diga = await pair(CGM)
    if polled_before:
        assert (await diga.get("Observation")).status_code == 200
        clock.advance(3600)
        diga.token = diga.signed()
    nearly_done, go_on = asyncio.Event(), asyncio.Event()

    async def at_the_end(*arguments: object, **named: object) -> None:
        nearly_done.set()
        await go_on.wait()
        await record(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("ddr.store.patients.erasure.record", at_the_end)
    deleting = asyncio.create_task(delete_patient(pool, patient_id, clock()))
    await nearly_done.wait()
    poll = asyncio.create_task(diga.get("Observation"))
    while not poll.done() and not await waiting(pool):  # noqa: ASYNC110 - for the row that is being deleted
        await asyncio.sleep(0.01)
    go_on.set()
    assert await deleting
    assert (await poll).status_code == 200, "it was admitted before the patient was gone"
    assert "grace" in await left(pool, patient_id), "else this proves nothing"

    sweep = steps(core, clock() + AGAIN_MS - 1)["erased-patients"]
    await sweep()
    assert "erased" in await left(pool, patient_id), "a request may still be under way"
    await steps(core, clock() + AGAIN_MS)["erased-patients"]()
    assert await left(pool, patient_id) == {}


async def test_a_patient_who_is_there_keeps_everything(core: Core, clock: Clock, body: Body) -> None:
    """As after a restore of only some tables."""
    pool, patient_id = core.pool, body.patient_id
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0) ON CONFLICT DO NOTHING", patient_id)
    await body.cgm()
    before = await left(pool, patient_id)
    await pool.execute("INSERT INTO erased (patient_id, at_ms) VALUES ($1, 0)", patient_id)
    await steps(core, clock())["erased-patients"]()
    assert await left(pool, patient_id) == before
