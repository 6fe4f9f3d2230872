"""The audit trail cannot be changed without its chain showing it."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from ddr.operations.audit_chain import GENESIS
from ddr.operations.audit_trail import SLICE, seal
from ddr.operations.audit_verifying import _Walk, verify
from ddr.store.audit.trail import Event, record

NOW = 1_795_341_600_000


@pytest.fixture
def trail(own_pool: asyncpg.Pool) -> asyncpg.Pool:
    """A database of its own: a chain covers the whole trail, including other tests' entries."""
    return own_pool


async def write(pool: asyncpg.Pool, count: int, at_ms: int = NOW) -> None:
    for number in range(count):
        await record(pool, Event.DATA_READ, at_ms, client_id="urn:diga:bfarm:00001", detail={"b": number, "a": "ä"})


async def tamper(pool: asyncpg.Pool, statement: str) -> None:
    """Changes that a database administrator could make."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET detail = '{}'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "INSERT INTO audit (patient_id, audit_no, at_ms, event) VALUES (gen_random_uuid(), 1, 0, 'x')",
        "DELETE FROM audit_seal",
        "TRUNCATE audit_seal",
        "UPDATE audit_seal SET entries = 7",
        "UPDATE audit_seal SET purged_ms = last_ms + 86400000",
        "INSERT INTO audit_rest (patient_id, audit_no, at_ms, event) VALUES (gen_random_uuid(), 1, 0, 'x')",
    ],
)
async def test_the_database_refuses_changes(trail: asyncpg.Pool, statement: str) -> None:
    await write(trail, 2)
    await seal(trail, NOW)
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.GeneratedAlwaysError)):
        await trail.execute(statement)


async def test_what_was_not_touched_is_verified(trail: asyncpg.Pool) -> None:
    assert (await verify(trail)).faults == ()
    await write(trail, 3)
    assert await seal(trail, NOW) == 1
    await write(trail, 2)
    assert await seal(trail, NOW) == 1
    assert await seal(trail, NOW) == 0
    await write(trail, 1)
    findings = await verify(trail)
    assert (findings.faults, findings.seals, findings.entries, findings.unsealed) == ((), 2, 5, 1)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET client_id = 'urn:diga:bfarm:00002' WHERE audit_no = 2", "between 1 and 3 was changed"),
        ("DELETE FROM audit WHERE audit_no = 2", "covers 3 entries, but there are 2"),
        ("UPDATE audit_seal SET digest = '\\x00' WHERE seal_no = 1", "seal 1 does not follow seal 0"),
        ("DELETE FROM audit_seal WHERE seal_no = 1", "seal 2 does not follow seal 0"),
        ("UPDATE audit_seal SET purged_ms = 1 WHERE seal_no = 2", "were purged before older ones"),
    ],
)
async def test_what_was_touched_is_found(trail: asyncpg.Pool, statement: str, fault: str) -> None:
    for _ in range(2):
        await write(trail, 3)
        await seal(trail, NOW)
    await tamper(trail, statement)
    assert any(fault in found for found in (await verify(trail)).faults)


async def test_faults_that_were_found_make_no_later_seal_slower(trail: asyncpg.Pool) -> None:
    """A trail that lost a year has a fault for each minute of it, followed by years of seals."""
    walk = _Walk(trail, None, GENESIS, NOW)

    def taken() -> float:
        begun = time.process_time()
        for _ in range(100):
            walk._faulty(())
        return time.process_time() - begun

    few = min(taken() for _ in range(5))
    walk._faulty(["the entries were changed"] * 300_000)
    assert min(taken() for _ in range(5)) < 50 * few


async def test_a_chain_that_was_made_anew_lacks_the_head_that_was_noted(trail: asyncpg.Pool) -> None:
    await write(trail, 2)
    await seal(trail, NOW)
    noted = (await verify(trail)).head
    await write(trail, 1)
    await seal(trail, NOW)
    assert (await verify(trail, noted)).faults == ()
    await tamper(trail, "TRUNCATE audit_seal")
    await tamper(trail, "UPDATE audit SET detail = '{}'")
    await seal(trail, NOW)
    assert (await verify(trail)).faults == ()
    assert (await verify(trail, noted)).faults == (f"the chain has no seal {noted}",)


async def test_a_seal_waits_for_entries_under_way_but_holds_nobody_up(trail: asyncpg.Pool) -> None:
    async with trail.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await record(slow, Event.DATA_READ, NOW)  # has number 1
        await write(trail, 1)  # number 2, committed first
        sealing = asyncio.create_task(seal(trail, NOW))
        await asyncio.sleep(0.2)
        await write(trail, 1)  # does not have to wait
        assert not sealing.done()
        await transaction.commit()
        assert await sealing == 1
    findings = await verify(trail)
    assert (findings.faults, findings.entries, findings.unsealed) == ((), 2, 1)


async def test_many_writers_and_several_sealers_at_once(trail: asyncpg.Pool) -> None:
    async def keep_sealing() -> None:
        for _ in range(5):
            await seal(trail, NOW)

    await asyncio.gather(*(write(trail, 20) for _ in range(5)), keep_sealing(), keep_sealing())
    await seal(trail, NOW)
    findings = await verify(trail)
    assert (findings.faults, findings.entries, findings.unsealed) == ((), 100, 0)


async def test_long_trails_are_sealed_in_slices(trail: asyncpg.Pool) -> None:
    await trail.execute(
        "INSERT INTO audit (patient_id, at_ms, event) SELECT gen_random_uuid(), 0, 'x' FROM generate_series(1, $1)",
        SLICE + 1,
    )
    assert await seal(trail, NOW) == 2
    assert (await verify(trail)).entries == SLICE + 1
