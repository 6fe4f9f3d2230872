"""Statements that lock several rows do so in the order of their keys, so that two workers cannot deadlock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.operations.pairing import approve
from ddr.store.audit.acting import ACTING, Acting
from ddr.store.authorization.grace import Claim, GraceClaims
from ddr.store.authorization.representations import End, SetBy, end
from ddr.store.database.faults import FAULTS
from ddr.store.database.limits import REQUESTS
from ddr.store.database.rights import Moment
from ddr.store.database.stamps import lock_patient
from ddr.store.gateways import apps
from ddr.store.patients.erasure import delete_patient
from ddr.store.patients.sessions import Session, open_session
from tests.support.clock import Clock
from tests.support.patients import list_diga, new_patient, push_request, represent
from tests.support.waiting import waiting

KEYS = [UUID(int=0xE5 << 120 | number) for number in range(12)]
URL = "https://valueset.example"
WAIT_SECONDS = 60
_WAITS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE grace%')"


@pytest.fixture
async def claims(core: Core) -> AsyncIterator[Core]:
    """A pending claim of each key, stored in the reverse order."""
    await core.pool.execute(
        "INSERT INTO grace (patient_id, pairing_no, answered, pending)"
        " SELECT key, 1, '{}', jsonb_build_object($2::text, 'me') FROM unnest($1::uuid[]) AS key",
        KEYS[::-1],
        URL,
    )
    yield core
    await core.pool.execute("DELETE FROM grace WHERE patient_id = ANY($1::uuid[])", KEYS)


async def test_claims_are_confirmed_from_the_lowest_key_on(claims: Core) -> None:
    unsaid = GraceClaims()
    for key in KEYS:
        unsaid.answered(Claim(key, 1, [URL], 0, {}))
    async with claims.pool.acquire() as holder, claims.pool.acquire() as watcher:
        async with holder.transaction():
            await holder.execute("SELECT FROM grace WHERE patient_id = $1 FOR UPDATE", KEYS[0])
            flushing = asyncio.create_task(unsaid.flush(claims.pool))
            async with asyncio.timeout(WAIT_SECONDS):
                while not await watcher.fetchval(_WAITS):  # noqa: ASYNC110 - nothing tells that a lock is waited for
                    await asyncio.sleep(0.01)
            free = await watcher.fetch(
                "SELECT patient_id FROM grace WHERE patient_id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED", KEYS
            )
            assert {row["patient_id"] for row in free} == set(KEYS[1:]), "none is held by who waits for the first"
            # What changes meanwhile is kept: another MIV's claim of the row that is waited for.
            await holder.execute(
                'UPDATE grace SET pending = pending || \'{"https://other.example": "me"}\' WHERE patient_id = $1',
                KEYS[0],
            )
        await flushing
    pending = await claims.pool.fetch("SELECT pending FROM grace WHERE patient_id = ANY($1::uuid[]) ORDER BY 1", KEYS)
    left = [row["pending"] for row in pending]
    assert sorted(left, key=len) == [{}] * (len(KEYS) - 1) + [{"https://other.example": "me"}]


@pytest.mark.parametrize("spread", [False, True])
async def test_what_is_confirmed_is_not_confirmed_again(
    claims: Core, monkeypatch: pytest.MonkeyPatch, spread: bool
) -> None:
    """A later claim of the same pairing would lose its mark; with patients on several servers (`spread`), too."""
    monkeypatch.setattr(claims.pool.servers, "spread", spread)
    unsaid = GraceClaims()
    for key in KEYS:
        unsaid.answered(Claim(key, 1, [URL], 0, {}))
    count = "SELECT count(*) FROM grace WHERE patient_id = ANY($1::uuid[]) AND pending ? $2"
    await unsaid.flush(claims.pool)
    assert await claims.pool.fetchval(count, KEYS, URL) == 0
    await claims.pool.execute(
        "UPDATE grace SET pending = jsonb_build_object($2::text, 'later') WHERE patient_id = ANY($1::uuid[])", KEYS, URL
    )
    await unsaid.flush(claims.pool)
    assert await claims.pool.fetchval(count, KEYS, URL) == len(KEYS)


async def test_over_servers_who_is_not_to_be_had_keeps_no_other_from_being_confirmed(
    claims: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else, while one server is away, claims on all others are over after a minute: who polls is answered too early."""
    monkeypatch.setattr(claims.pool.servers, "spread", True)
    unsaid = GraceClaims()
    for key in KEYS:
        unsaid.answered(Claim(key, 1, [URL], 0, {}))
    left = "SELECT patient_id FROM grace WHERE patient_id = ANY($1::uuid[]) AND pending ? $2"
    async with claims.pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM grace WHERE patient_id = $1 FOR UPDATE", KEYS[0])
        with pytest.raises(FAULTS):
            await unsaid.flush(claims.pool)
        assert [row["patient_id"] for row in await claims.pool.fetch(left, KEYS, URL)] == KEYS[:1]
    await unsaid.flush(claims.pool)
    assert await claims.pool.fetch(left, KEYS, URL) == []


async def test_a_code_is_redeemed_while_its_patient_is_deleted(core: Core, clock: Clock) -> None:
    """Whoever redeems has the code and takes the grant next; the deletion waits for the code, and has not the grant."""
    patient = await new_patient(core)
    request_uri = await push_request(core, diga := list_diga(core, "70001"))
    assert await approve(core, request_uri, patient.patient_id, diga.valuesets)
    async with core.pool.acquire() as redeeming, redeeming.transaction():
        await redeeming.execute(
            "UPDATE authorization_code SET redeemed_ms = $2 WHERE patient_id = $1", patient.patient_id, clock()
        )
        deleting = asyncio.create_task(delete_patient(core.pool, patient.patient_id, clock()))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await waiting(core.pool):  # noqa: ASYNC110 - nothing else tells it
                await asyncio.sleep(0.01)
        changed = "UPDATE token_grant SET refresh_expires_ms = 1 WHERE patient_id = $1"
        assert await redeeming.execute(changed, patient.patient_id) == "UPDATE 1"
    assert await deleting


async def test_a_deletion_outlasts_uploads_of_its_patient(core: Core, clock: Clock) -> None:
    """An app that sends all the time: each upload waits a moment for the one before, and the deletion for them all."""
    patient = await new_patient(core)
    async with core.pool.acquire() as uploading, uploading.transaction():
        await lock_patient(uploading, patient.patient_id, clock())
        deleting = asyncio.create_task(delete_patient(core.pool, patient.patient_id, clock()))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await waiting(core.pool):  # noqa: ASYNC110 - nothing else tells it
                await asyncio.sleep(0.01)
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with core.pool.acquire() as other, other.transaction():
                await lock_patient(other, patient.patient_id, clock())
        await asyncio.wait([deleting], timeout=REQUESTS.lock / 2)
        assert not deleting.done()
    assert await deleting


async def test_a_right_ends_while_its_patient_is_deleted(core: Core, clock: Clock) -> None:
    """Whoever ends it has the right and takes its sessions next; the deletion waits for the right and has none."""
    mother, child = await new_patient(core), await new_patient(core)
    right = await represent(core, mother, child)
    acting = Acting(mother.patient_id, right, "parent", "Mia", Moment.at(clock(), core.settings))
    await open_session(core.pool, Session(child.patient_id, mother.username, acting=acting), clock())
    async with core.pool.acquire() as ending, ending.transaction():
        await ending.execute("SELECT FROM representation WHERE patient_id = $1 FOR UPDATE", child.patient_id)
        deleting = asyncio.create_task(delete_patient(core.pool, child.patient_id, clock()))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await waiting(core.pool):  # noqa: ASYNC110 - nothing else tells it
                await asyncio.sleep(0.01)
        assert await end(ending, child.patient_id, right, SetBy.OPERATOR, End.RELATION, clock())
    assert await deleting


async def test_a_right_ends_while_an_app_is_connected_by_a_code_of_it(core: Core, clock: Clock) -> None:
    """Whoever ends it has the right and deletes the code next; the app waits for the right and has no code."""
    mother, child = await new_patient(core), await new_patient(core)
    right, moment = await represent(core, mother, child), Moment.at(clock(), core.settings)
    acting = ACTING.set(Acting(mother.patient_id, right, "parent", "Mia", moment))
    code = await apps.offer_code(core.pool, child.patient_id, clock())
    ACTING.reset(acting)
    async with core.pool.acquire() as ending, ending.transaction():
        await ending.execute("SELECT FROM representation WHERE patient_id = $1 FOR UPDATE", child.patient_id)
        connecting = asyncio.create_task(apps.connect(core.pool, code, "App", 365, moment))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await waiting(core.pool):  # noqa: ASYNC110 - nothing else tells it
                await asyncio.sleep(0.01)
        assert await end(ending, child.patient_id, right, SetBy.OPERATOR, End.RELATION, clock())
    assert await connecting is None
