"""Calls directly to a patient's server: which ones, what the coordinator is asked instead, what is never repeated.

Several servers are simulated by one (tests/support/engine.py), so a call is recognised by the session that answers it;
with Citus itself: make citus-test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from ddr.store.database import straight
from ddr.store.database.dsn import hosts
from ddr.store.database.faults import FAULTS
from ddr.store.database.limits import BACKGROUND, REQUESTS, Limits
from ddr.store.database.pool import Pool, connect
from ddr.store.database.straight import Ways, fetch_there
from tests.support.citus import one_server_only
from tests.support.engine import stand_in
from tests.support.pooler import direct_only

pytestmark = [one_server_only, direct_only]
WHO = UUID(int=7)
PID = "SELECT pg_backend_pid() AS pid"
SESSIONS = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"""


@pytest.fixture
async def engine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    """A connection to a database whose only part of patients is on a server, itself, under its own address."""
    monkeypatch.setattr(straight, "REST_SECONDS", 60.0)
    async with stand_in(database_url, monkeypatch) as pool:
        name, port = hosts(pool.servers.url)[0]
        await pool.execute("UPDATE pg_dist_node SET nodename = $1, nodeport = $2", name, port or 5432)
        await pool.execute("DELETE FROM pg_dist_node WHERE nodeid = 2")
        await pool.execute(
            """INSERT INTO pg_dist_shard VALUES ('patient', 102, '-2147483648');
               INSERT INTO pg_dist_placement VALUES (102, 1); CREATE SEQUENCE engine.said"""
        )
        yield pool


@pytest.fixture
async def pool(engine: asyncpg.Pool) -> AsyncIterator[Pool]:
    """The coordinator's, of one connection."""
    async with await opened(engine) as pool:
        yield pool


async def opened(engine: asyncpg.Pool, limits: Limits = REQUESTS, cache: int = 100) -> Pool:
    pool = await connect(engine.servers.url, 1, limits, cache)
    pool.servers.spread = True
    return pool


async def answered_by(conn: asyncpg.Connection | asyncpg.Pool) -> int:
    (row,) = await fetch_there(conn, WHO, PID)
    pid: int = row["pid"]
    return pid


async def settled(pool: Pool) -> int:
    """Who answers a call once what it begins beside has ended."""
    for _ in range(3):  # it asks where the part is, then for a connection there
        await answered_by(pool)
        if isinstance(ways := pool.beside, Ways):
            await asyncio.gather(*ways._tasks.values())
    return await answered_by(pool)


async def test_a_call_goes_straight_once_it_is_known_where_and_nobody_waits_for_that(pool: Pool) -> None:
    coordinator = await pool.fetchval(PID)
    assert await answered_by(pool) == coordinator
    there = await settled(pool)
    assert there != coordinator
    assert await answered_by(pool) == there
    settings = "SELECT current_setting('plan_cache_mode') AS plans, current_setting('statement_timeout') AS limit"
    assert [tuple(row) for row in await fetch_there(pool, WHO, settings)] == [("auto", "6250ms")]
    assert await pool.fetchval(PID) == coordinator, "all else is the coordinator's"


async def test_transactions_other_work_and_who_has_a_pooler_stay_with_the_coordinator(
    pool: Pool, engine: asyncpg.Pool
) -> None:
    await settled(pool)
    async with pool.acquire() as conn, conn.transaction():
        assert await answered_by(conn) == conn.get_server_pid()
    for limits, cache in ((BACKGROUND, 100), (REQUESTS, 0)):
        async with await opened(engine, limits, cache) as other:
            assert await settled(other) == await other.fetchval(PID)


async def left(engine: asyncpg.Pool, count: int) -> None:
    """Wait until so many sessions are left: one that was given up may end a moment later."""
    async with asyncio.timeout(60):
        while await engine.fetchval(SESSIONS) > count:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    assert await engine.fetchval(SESSIONS) == count


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE pg_dist_node SET groupid = 0; UPDATE pg_dist_placement SET groupid = 0",
        "UPDATE pg_dist_placement SET groupid = 2",
        "UPDATE pg_dist_node SET isactive = false",
        "UPDATE pg_dist_node SET metadatasynced = false",
        "UPDATE pg_dist_node SET noderole = 'secondary'",
        "DROP TABLE pg_dist_shard",
        "UPDATE pg_dist_node SET nodename = '127.0.0.1', nodeport = 1",
        "ALTER FUNCTION master_run_on_worker RENAME TO gone",
    ],
)
async def test_what_is_not_known_to_be_there_is_asked_of_the_coordinator(
    pool: Pool, engine: asyncpg.Pool, change: str
) -> None:
    await engine.execute(change)
    assert await settled(pool) == await pool.fetchval(PID)
    await left(engine, 2)


async def test_another_server_under_the_address_is_not_used_and_that_is_told_once(
    pool: Pool, engine: asyncpg.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Such an address is `localhost`: on the coordinator it is somebody else than on the recorder's host."""
    await engine.execute(
        """CREATE OR REPLACE FUNCTION engine.master_run_on_worker(text[], int[], command text[], parallel boolean)
           RETURNS TABLE (node_name text, node_port int, success boolean, result text) LANGUAGE sql AS
           $$SELECT $1[1], $2[1], true, '7'$$"""
    )
    with caplog.at_level("INFO", "ddr.store.database.straight"):
        for _ in range(2):
            assert await settled(pool) == await pool.fetchval(PID)
            assert isinstance(pool.beside, Ways)
            pool.beside._rests_until.clear()
    assert [(record.msg, record.levelname) for record in caplog.records] == [("database.part_server_away", "WARNING")]
    await left(engine, 2)


async def test_a_call_whose_answer_is_lost_is_not_said_again_and_the_server_rests(
    pool: Pool, engine: asyncpg.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, there = await pool.fetchval(PID), await settled(pool)
    call = asyncio.create_task(fetch_there(pool, WHO, "SELECT nextval('engine.said'), pg_sleep(5)"))
    while not await engine.fetchval("SELECT is_called FROM engine.said"):  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(0.01)
    await engine.fetchval("SELECT pg_terminate_backend($1)", there)
    with pytest.raises(FAULTS):
        await call
    assert await engine.fetchval("SELECT last_value FROM engine.said") == 1
    assert await settled(pool) == coordinator
    assert "database.part_server_away" in caplog.messages
    assert isinstance(pool.beside, Ways)
    pool.beside._rests_until.clear()
    assert await settled(pool) not in (coordinator, there)


async def test_a_call_goes_on_by_way_of_the_coordinator_when_its_server_takes_no_connection(
    pool: Pool, engine: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await settled(pool)
    assert isinstance(pool.beside, Ways)
    (server,) = pool.beside.pools.values()

    async def refused(**_: object) -> asyncpg.Connection:
        raise ConnectionRefusedError

    monkeypatch.setattr(server.servers, "connect", refused)
    await engine.fetchval("SELECT pg_terminate_backend($1)", there)
    async with asyncio.timeout(60):
        while server.get_size():  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.01)
    assert await answered_by(pool) == await pool.fetchval(PID)
    assert pool.beside.pools == {}


async def test_what_a_server_refuses_as_a_whole_is_asked_of_the_coordinator(pool: Pool, engine: asyncpg.Pool) -> None:
    """Its functions may be older than the recorder, or it does not let the role use them."""
    coordinator = await pool.fetchval(PID)
    await settled(pool)
    await engine.execute(
        f"""CREATE FUNCTION engine.told() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
              IF pg_backend_pid() <> {coordinator} THEN RAISE undefined_function; END IF;
              RETURN pg_backend_pid();
            END $$"""
    )
    assert [row["told"] for row in await fetch_there(pool, WHO, "SELECT engine.told()")] == [coordinator]


async def test_what_is_wrong_with_the_call_itself_is_told_and_nobody_rests(pool: Pool) -> None:
    there = await settled(pool)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await fetch_there(pool, WHO, "SELECT 1 / 0")
    assert await answered_by(pool) == there


async def test_a_move_is_forgotten_at_once_and_else_after_a_while(
    pool: Pool, engine: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, there = await pool.fetchval(PID), await settled(pool)
    await engine.execute("UPDATE pg_dist_placement SET groupid = 0")
    with pytest.raises(asyncpg.SerializationError):
        await fetch_there(pool, WHO, "DO $$ BEGIN RAISE serialization_failure; END $$")
    assert await answered_by(pool) == coordinator, "that is asked again"
    assert await settled(pool) == coordinator
    await engine.execute("UPDATE pg_dist_placement SET groupid = 1")
    monkeypatch.setattr(straight, "KNOWN_SECONDS", 0.1)
    await asyncio.sleep(0.1)
    there = await settled(pool)
    assert there != coordinator
    await engine.execute("UPDATE pg_dist_placement SET groupid = 0")
    await asyncio.sleep(0.1)
    assert await answered_by(pool) == coordinator
    assert await settled(pool) == coordinator
    await left(engine, 2)  # a server without parts needs no connections


async def test_what_is_known_holds_its_time_when_it_cannot_be_read_again(pool: Pool, engine: asyncpg.Pool) -> None:
    """A coordinator that is busy with a server that hangs must not be given the calls to all others as well."""
    coordinator, there = await pool.fetchval(PID), await settled(pool)
    await engine.execute("ALTER TABLE pg_dist_shard RENAME TO gone")
    ways = pool.beside
    assert isinstance(ways, Ways)
    ways._tried_at = 0.0
    assert await settled(pool) == there
    ways._read_at -= straight.KNOWN_SECONDS
    assert await settled(pool) == coordinator
    await engine.execute("ALTER TABLE gone RENAME TO pg_dist_shard")
    ways._tried_at = 0.0
    assert await settled(pool) == there


async def test_connections_end_with_the_pool(engine: asyncpg.Pool) -> None:
    for ending in ("close", "terminate"):
        pool = await opened(engine)
        await settled(pool)
        assert await engine.fetchval(SESSIONS) == 3
        if ending == "close":
            await pool.close()
        else:
            pool.terminate()
        await left(engine, 1)
