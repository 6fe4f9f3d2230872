"""A free connection is taken and returned at once; its next user finds nothing left behind on it."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddr.demo.recorder import free_ports
from ddr.settings import Settings
from ddr.store.database import probe
from ddr.store.database.errors import DatabaseAway, StoreError
from ddr.store.database.faults import FAULTS
from ddr.store.database.pool import Pool, connect, open_pool
from ddr.store.database.servers import ServerConnection
from tests.support.pooler import direct_only
from tests.support.postgres import own_server

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def one(settings: Settings) -> AsyncIterator[Pool]:
    """A pool of one connection, which is made."""
    async with await open_pool(settings, size=1) as pool:
        await pool.fetchval(PID)
        yield pool


async def test_a_free_connection_costs_no_turn_of_the_event_loop(one: Pool) -> None:
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    for _ in range(3):
        async with one.acquire() as connection:
            assert not connection.is_closed()
    assert not turns


async def test_a_name_is_told_that_has_a_server_at_none_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `localhost`, which mostly has one of either version of IP."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in free_ports(2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(DatabaseAway, match=r"cannot connect: no server listens there$"):
        await connect("postgresql://ddr@both/ddr", 1)


async def test_who_waits_has_it_in_order_of_coming(one: Pool) -> None:
    came: list[int] = []

    async def wait(number: int) -> None:
        async with one.acquire():
            came.append(number)

    async with one.acquire():
        waiting = [asyncio.create_task(wait(number)) for number in range(4)]
        await asyncio.sleep(0)
        assert not came
    await asyncio.gather(*waiting)
    assert came == [0, 1, 2, 3]


async def test_a_transaction_that_was_left_open_is_rolled_back(one: Pool) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    async with one.acquire() as connection:
        await connection.execute("BEGIN")
    asyncio.get_running_loop().set_exception_handler(None)
    assert len(told) == 1, "asyncpg says so"
    async with one.acquire() as connection:
        assert not connection.is_in_transaction()


async def test_a_transaction_over_servers_says_how_long_a_lock_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would wait as long as a statement may take, and one locked patient would keep a bridge's others waiting."""

    async def look(_: object) -> bool:
        return True

    monkeypatch.setattr("ddr.store.database.pool.look", look)
    async with await open_pool(settings, size=1) as one:
        await one.execute("SET lock_timeout = 0")
        async with one.acquire() as connection, connection.transaction():
            assert await connection.fetchval("SHOW lock_timeout") == "1500ms"
            async with connection.transaction():
                assert await connection.fetchval("SHOW lock_timeout") == "1500ms"
        assert await one.fetchval("SHOW lock_timeout") == "0"


async def test_a_cancelled_statement_is_over_before_the_next_one(one: Pool) -> None:
    asking = asyncio.create_task(one.fetchval("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(10):
        assert await one.fetchval("SELECT 1") == 1


async def test_a_statement_that_is_cancelled_before_it_is_executed_leaves_no_lock(
    one: Pool, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its plan was made, for which the tables are locked; here one that nobody else reads."""
    prepared = ServerConnection._get_statement

    async def cut(self: ServerConnection, *arguments: Any, **options: Any) -> Any:
        await prepared(self, *arguments, **options)
        raise asyncio.CancelledError

    with monkeypatch.context() as once:
        once.setattr(ServerConnection, "_get_statement", cut)
        with pytest.raises(asyncio.CancelledError):
            await one.fetchval("SELECT count(*) FROM pg_seclabel")
    found = await pool.fetchval("SELECT count(*) FROM pg_locks WHERE relation = 'pg_seclabel'::regclass")
    assert found == 0
    assert await one.fetchval("SELECT now() > pg_postmaster_start_time()")


@direct_only
async def test_a_connection_that_is_doubted_is_not_used_again(one: Pool) -> None:
    before = await one.fetchval(PID)
    one.servers.doubts += 1
    between = await one.fetchval(PID)
    assert between != before
    async with one.acquire():
        await one.expire_connections()
    assert await one.fetchval(PID) not in (before, between)


@direct_only
async def test_nobody_waits_for_the_goodbye_of_a_server_that_is_doubted(settings: Settings, tmp_path: Path) -> None:
    """It hangs: the goodbye would take until a limit, and end with an error that nobody looks at."""
    with own_server(tmp_path / "server") as server:
        own = replace(settings, database_url=server.url, state_dir=tmp_path)
        async with await open_pool(own, size=3) as pool:
            held, *free = [await pool.acquire() for _ in range(3)]
            for connection in free:
                await pool.release(connection)
            server.pause()
            pool.servers.doubts += 1
            before = asyncio.all_tasks()
            begun = time.monotonic()
            with pytest.raises(FAULTS):
                await pool.acquire(timeout=0.1)
            await pool.release(held)
            assert time.monotonic() - begun < pool.limits.acquire
            assert not [task for task in asyncio.all_tasks() - before if "close" in str(task.get_coro())]
            server.resume()
            assert await pool.fetchval("SELECT 1") == 1


@direct_only
async def test_a_connection_serves_only_so_many_statements(one: Pool) -> None:
    before = await one.fetchval(PID)
    for holder in one._holders:
        holder._max_queries = 1
    assert await one.fetchval(PID) == before, "it is looked at when it is given back"
    assert await one.fetchval(PID) != before


async def test_what_belongs_to_another_pool_is_not_taken_back(one: Pool, pool: Pool) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(Exception, match="not a member of this pool"):
            await one.release(connection)
    assert await one.fetchval("SELECT 1") == 1


async def test_a_database_that_hangs_is_found_out_without_an_error_that_nobody_looked_at(
    one: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        assert await one.ready()
        monkeypatch.setattr(probe, "SECONDS", 0.2)
        monkeypatch.setattr(probe, "_SPILL", "SELECT pg_sleep(5)")
        assert not await one.ready()
        monkeypatch.undo()
        assert await one.ready()
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert not told


@pytest.mark.parametrize(
    ("code", "said", "away"),
    [
        ("08P01", "server login has been failing, try again later (server_login_retry)", True),
        ("08P01", "pgbouncer cannot connect to server", True),
        ("08P01", "unsupported startup parameter: jit", False),
        ("08P01", "SASL authentication failed", False),
        ("08P01", "no such database: ddr", False),
        ("08P01", 'role "ddr" does not exist', False),
        ("57P01", "terminating connection due to administrator command", True),
        ("57P03", "the database system is starting up", True),
        ("28P01", "password authentication failed for user", False),
    ],
)
async def test_a_server_that_may_come_back_is_told_from_one_that_refuses(
    tmp_path: Path, code: str, said: str, away: bool
) -> None:
    """A start waits for the first, also when a pooler tells of it (docs/serving.md)."""
    told = f"SFATAL\0VFATAL\0C{code}\0M{said}\0\0".encode()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"E" + (len(told) + 4).to_bytes(4) + told)
        writer.close()

    async with await asyncio.start_unix_server(refuse, tmp_path / ".s.PGSQL.5432"):
        with pytest.raises(StoreError) as found:
            await connect(f"postgresql://ddr@/ddr?host={tmp_path}", 1)
    assert isinstance(found.value, DatabaseAway) is away


async def test_a_server_without_tls_is_not_waited_for() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreError, match="rejected SSL upgrade") as found:
            await connect(f"postgresql://ddr@127.0.0.1:{port}/ddr?sslmode=require", 1)
    assert not isinstance(found.value, DatabaseAway)
