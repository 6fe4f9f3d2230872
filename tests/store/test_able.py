"""Work that began at the moment when an account was disabled, or a right ended, does not outlive that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from uuid import UUID

import pytest

from ddr.http.core import Core
from ddr.store.audit.acting import ACTING, Acting, RightOver
from ddr.store.authorization.representations import End, SetBy, end
from ddr.store.database.rights import Moment
from ddr.store.gateways import apps
from ddr.store.patients.administration import disable, enable
from ddr.store.patients.erasure import delete_patient
from ddr.store.patients.sessions import Session, load_session, open_session
from tests.support.clock import Clock
from tests.support.patients import new_patient, represent
from tests.support.waiting import waiting

HOUR_MS = 3_600_000


async def while_disabled(core: Core, patient_id: UUID, work: Awaitable[str]) -> str:
    """What `work` gives that begins before the account is disabled and goes on after; then it is enabled."""
    async with core.pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM patient WHERE patient_id = $1 FOR UPDATE", patient_id)
        working = asyncio.ensure_future(work)
        disabling = asyncio.create_task(disable(core.pool, patient_id, core.clock()))
        async with asyncio.timeout(30):
            while await waiting(core.pool) + working.done() < 2:  # noqa: ASYNC110 - nothing tells that a lock is waited for
                await asyncio.sleep(0.01)
        await conn.execute("UPDATE patient SET disabled_ms = 1 WHERE patient_id = $1", patient_id)
    await disabling
    found = await working
    assert await enable(core.pool, patient_id)
    return found


@pytest.mark.parametrize("who", ["patient", "representative"])
async def test_a_session_begun_as_the_account_is_disabled_is_worth_nothing(core: Core, clock: Clock, who: str) -> None:
    one, child = await new_patient(core), await new_patient(core)
    session = Session(one.patient_id, one.username)
    if who == "representative":
        right = await represent(core, one, child)
        acting = Acting(one.patient_id, right, "parent", "Mia", Moment.at(clock(), core.settings))
        session = Session(child.patient_id, one.username, acting=acting)
    cookie = await while_disabled(core, one.patient_id, open_session(core.pool, session, clock()))
    assert await load_session(core.pool, cookie, Moment.at(clock(), core.settings), HOUR_MS) is None


async def test_a_code_for_an_app_made_as_the_account_is_disabled_is_worth_nothing(core: Core, clock: Clock) -> None:
    one = await new_patient(core)
    code = await while_disabled(core, one.patient_id, apps.offer_code(core.pool, one.patient_id, clock()))
    assert await apps.connect(core.pool, code, "App", 365, Moment.at(clock(), core.settings)) is None


async def test_a_code_for_an_app_that_a_representative_makes_as_the_right_ends(core: Core, clock: Clock) -> None:
    """An app with it would send for a year."""
    mother, child = await new_patient(core), await new_patient(core)
    right = await represent(core, mother, child)
    acting = ACTING.set(Acting(mother.patient_id, right, "parent", "Mia", Moment.at(clock(), core.settings)))
    async with core.pool.acquire() as conn, conn.transaction():
        assert await end(conn, child.patient_id, right, SetBy.OPERATOR, End.RELATION, clock())
        offering = asyncio.create_task(apps.offer_code(core.pool, child.patient_id, clock()))
        async with asyncio.timeout(30):
            while not offering.done() and not await waiting(core.pool):  # noqa: ASYNC110 - for the end
                await asyncio.sleep(0.01)
    ACTING.reset(acting)
    with pytest.raises(RightOver):
        await offering


async def test_nobody_logs_in_to_a_patient_who_is_gone(core: Core, clock: Clock) -> None:
    """The password was looked at a moment before."""
    one = await new_patient(core)
    await delete_patient(core.pool, one.patient_id, clock())
    cookie = await open_session(core.pool, Session(one.patient_id, one.username), clock())
    assert await load_session(core.pool, cookie, Moment.at(clock(), core.settings), HOUR_MS) is None
