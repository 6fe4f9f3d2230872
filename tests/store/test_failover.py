"""Two servers and one URL: a primary that hangs, its promoted standby, and the former primary when it returns."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.settings import Settings
from ddr.store.database.errors import StoreError
from ddr.store.database.faults import FAULTS
from ddr.store.database.pool import Pool, open_pool
from tests.support.postgres import Server

SECONDS = 15.0  # from the hang to the first write on the other server


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A primary and its standby, both running."""
    first, second = Server(tmp_path / "first"), Server(tmp_path / "second")
    try:
        first.start()
        second.copy(first)
        second.start()
        yield first, second
    finally:
        first.dispose()
        second.dispose()
        shutil.rmtree(tmp_path, ignore_errors=True)


def url_of(*servers: Server) -> str:
    """One URL for several servers."""
    return f"postgresql://ddr@/postgres?host={','.join(str(server.run_dir) for server in servers)}"


async def write(pool: asyncpg.Pool) -> str:
    """Write something; the directory of the server that took it."""
    await pool.execute("INSERT INTO written VALUES (1)")
    found: str = await pool.fetchval("SHOW unix_socket_directories")
    return found


async def written_in_time(pool: Pool) -> str:
    """The server that takes a write, within SECONDS."""
    async with asyncio.timeout(SECONDS):
        while True:
            with suppress(*FAULTS):
                return await write(pool)
            await asyncio.sleep(0.1)


@pytest.mark.requirement("OPS-015")
async def test_a_primary_that_hangs_and_comes_back(
    pair: tuple[Server, Server], settings: Settings, tmp_path: Path
) -> None:
    first, second = pair
    own = replace(settings, database_url=url_of(first, second), state_dir=tmp_path)
    async with await open_pool(own) as pool:
        await pool.execute("CREATE TABLE written (n integer)")
        assert await write(pool) == str(first.run_dir)
        held = [await pool.acquire() for _ in range(3)]  # connections that stay idle while the others learn of it
        for one in held:
            await pool.release(one)
        assert await pool.ready()
        async with asyncio.timeout(60):
            while not await asyncpg_has(second, "written"):  # noqa: ASYNC110 - replicated meanwhile
                await asyncio.sleep(0.05)

        first.pause()
        second.promote()
        began = time.monotonic()
        assert await written_in_time(pool) == str(second.run_dir)
        assert time.monotonic() - began < SECONDS
        async with asyncio.timeout(60):
            while not await pool.ready():  # noqa: ASYNC110 - asked from outside
                await asyncio.sleep(0.1)

        first.resume()  # nobody told it that it is the primary no more
        servers = {await written_in_time(pool) for _ in range(20)}
        assert servers == {str(second.run_dir)}
        assert await pool.ready()

    alone = replace(own, database_url=url_of(first))
    with pytest.raises(StoreError, match="former primary"):
        await open_pool(alone)
    async with await open_pool(own) as pool:
        assert await write(pool) == str(second.run_dir)


async def asyncpg_has(server: Server, table: str) -> bool:
    """True when the standby has got the table."""
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table) is True
    finally:
        await connection.close()


@pytest.mark.requirement("OPS-015")
async def test_a_primary_that_was_replaced_without_a_sign_is_left(
    pair: tuple[Server, Server], settings: Settings, tmp_path: Path
) -> None:
    first, second = pair
    own = replace(settings, database_url=url_of(first, second), state_dir=tmp_path)
    async with await open_pool(own) as pool:
        await pool.servers.look()
        assert await pool.fetchval("SHOW unix_socket_directories") == str(first.run_dir)
        second.promote()
        await pool.servers.look()
        found = {await pool.fetchval("SHOW unix_socket_directories") for _ in range(10)}
        assert found == {str(second.run_dir)}
        assert await pool.ready()


@pytest.mark.requirement("OPS-015")
async def test_a_start_uses_the_newer_of_two_primaries(
    pair: tuple[Server, Server], settings: Settings, tmp_path: Path
) -> None:
    first, second = pair
    second.promote()
    own = replace(settings, database_url=url_of(first, second), state_dir=tmp_path)
    async with await open_pool(own) as pool:
        assert await pool.fetchval("SHOW unix_socket_directories") == str(second.run_dir)
        told = pool.servers.states.report()
        assert told[str(second.run_dir)] == "in use"


@pytest.mark.requirement("OPS-015")
async def test_a_server_that_becomes_read_only_is_refused_with_a_line(
    pair: tuple[Server, Server], settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pair
    own = replace(settings, database_url=url_of(first, second), state_dir=tmp_path)
    admin = await asyncpg.connect(first.url)
    async with await open_pool(own) as pool:
        assert await pool.ready()
        assert set(pool.servers.states.report().values()) == {"in use", "standby"}
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(60):
            while await pool.ready():  # noqa: ASYNC110 - asked from outside
                await asyncio.sleep(0.05)
        assert pool.servers.states.report()[str(first.run_dir)] == "refused: the server is read-only"
        assert [record.levelname for record in caplog.records if record.msg == "database.host_refused"] == ["WARNING"]
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(60):
            while not await pool.ready():  # noqa: ASYNC110 - asked from outside
                await asyncio.sleep(0.05)
        assert set(pool.servers.states.report().values()) == {"in use", "standby"}
    await admin.close()


@pytest.mark.requirement("OPS-015")
async def test_a_host_that_hangs_keeps_nobody_from_the_next(
    pair: tuple[Server, Server], settings: Settings, tmp_path: Path
) -> None:
    first, second = pair
    first.pause()
    second.promote()
    began = time.monotonic()
    own = replace(settings, database_url=url_of(first, second), state_dir=tmp_path)
    async with await open_pool(own) as pool:
        assert time.monotonic() - began < 5
        assert await pool.fetchval("SHOW unix_socket_directories") == str(second.run_dir)
        began = time.monotonic()
        connections = [await pool.acquire() for _ in range(4)]
        assert time.monotonic() - began < 3  # the last good one comes first
        for one in connections:
            await pool.release(one)
