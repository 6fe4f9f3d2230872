"""Databases for tests that are spread over the servers of the coordinator at DDR_TEST_CITUS_URL (make citus-test)."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from ddr.cli.db import FUNCTIONS
from ddr.store.database.distribute import distribute
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import connect
from tests.support.reached import execute, on

COORDINATOR = "DDR_TEST_CITUS_URL"  # a database with Citus and its servers; its role makes databases on all of them
SHARDS = 4


@asynccontextmanager
async def spread_database(coordinator: str) -> AsyncIterator[str]:
    """The URL of a new database with the schema, spread, and nothing else; dropped afterwards on all servers."""
    name = f"ddr_test_{os.getpid()}_{secrets.token_hex(4)}"
    conn = await asyncpg.connect(coordinator)
    nodes = [
        (row["nodename"], row["nodeport"])
        for row in await conn.fetch("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 ORDER BY groupid")
    ]
    first = await conn.fetchrow("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid = 0")
    await conn.close()
    servers = [coordinator, *(_at(coordinator, *node) for node in nodes)]
    try:
        for server in servers:
            await execute(server, f'CREATE DATABASE "{name}"')
            await execute(on(server, name), "CREATE EXTENSION citus")
        url = on(coordinator, name)
        conn = await asyncpg.connect(url)
        await conn.execute("SELECT citus_set_coordinator_host($1, $2)", *first)
        for node in nodes:
            await conn.execute("SELECT citus_add_node($1, $2)", *node)
        await conn.close()
        async with await connect(url, 1) as pool:
            await migrate(pool)
            await distribute(pool, FUNCTIONS, SHARDS)
        yield url
    finally:
        for server in servers:
            await execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _at(url: str, host: str, port: int) -> str:
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{port}"))


async def _demo() -> int:
    """The demonstration on a spread database; its exit status."""
    async with spread_database(os.environ[COORDINATOR]) as url:
        with tempfile.TemporaryDirectory(prefix="ddr-citus-") as state:
            command = [sys.executable, "-m", "ddr.cli.main", "demo", "--once", "--ports", "auto", "--workers", "1"]
            more = {"DDR_DATABASE_URL": url, "DDR_STATE_DIR": state}
            done = await asyncio.create_subprocess_exec(*command, env={**os.environ, **more}, cwd=state)
            return await done.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_demo()))
