"""Databases for tests that are spread over the servers of the coordinator at DDR_TEST_CITUS_URL (make citus-test).

With TEST_AS_IF_SPREAD a single PostgreSQL is treated as if it were such servers (make spread-test): this tests without
them what the recorder does differently there, but not that each statement finds its server.
"""

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
import pytest

from ddr.store.database import pool, straight
from ddr.store.database.distribute import UNFIT_TRIGGERS, distribute
from ddr.store.database.dsn import Host, hosts
from ddr.store.database.functions_there import FUNCTIONS
from ddr.store.database.migrate import migrate
from ddr.store.database.parts import Parts
from ddr.store.database.spreading import STAMP_FUNCTION
from tests.support.reached import execute, on

COORDINATOR = "DDR_TEST_CITUS_URL"  # a database with Citus and its servers; its role creates databases on all of them
AS_IF = "TEST_AS_IF_SPREAD"
SHARDS = 4
# For tests of a statement shared by several patients, of how many there are, or of triggers that spreading removes.
one_server_only = pytest.mark.skipif(
    COORDINATOR in os.environ or AS_IF in os.environ, reason="in this run patients are spread over servers"
)
# For code with several patients in one transaction, or that is never used where patients are spread.
not_over_servers = pytest.mark.skipif(COORDINATOR in os.environ, reason="in this run patients are on several servers")
_TRIGGERS = """
SELECT format('DROP TRIGGER %I ON %I', tgname, tgrelid::regclass) FROM pg_trigger WHERE tgname = ANY ($1::name[])"""


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
        async with await pool.connect(url, 2) as own:
            await migrate(own)
            await distribute(own, SHARDS)
        yield url
    finally:
        for server in servers:
            await execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _at(url: str, host: str, port: int) -> str:
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{port}"))


async def be_as_if_spread(url: str) -> None:
    """Give a database on one server the functions that act beside a patient's rows, and remove the triggers that would
    go."""
    conn = await asyncpg.connect(url)
    try:
        drops = [row[0] for row in await conn.fetch(_TRIGGERS, list(UNFIT_TRIGGERS))]
        await conn.execute(";".join([*drops, STAMP_FUNCTION, *FUNCTIONS.values()]))
    finally:
        await conn.close()


def take_as_spread() -> None:
    """Make pools of this process treat any database as spread, in a run with TEST_AS_IF_SPREAD.

    All patients' data is on the one server, and code that connects to its server directly uses connections of its own.
    """

    async def look(_: asyncpg.Connection) -> bool:
        return True

    async def parts(coordinator: pool.Pool) -> Parts:
        return Parts([(-(2**31), hosts(coordinator.servers.url)[0])])

    async def system_at(coordinator: pool.Pool, _: Host) -> str | None:
        return coordinator.servers.lineage.system

    if AS_IF in os.environ:
        patch = pytest.MonkeyPatch()
        patch.setattr(pool, "look", look)
        patch.setattr(straight, "parts", parts)
        patch.setattr(straight, "system_at", system_at)


async def _demo() -> int:
    """Run the demonstration on a spread database; returns its exit status."""
    async with spread_database(os.environ[COORDINATOR]) as url:
        with tempfile.TemporaryDirectory(prefix="ddr-citus-") as state:
            command = [sys.executable, "-m", "ddr.cli.main", "demo", "--once", "--ports", "auto", "--workers", "1"]
            more = {"DDR_DATABASE_URL": url, "DDR_STATE_DIR": state}
            done = await asyncio.create_subprocess_exec(*command, env={**os.environ, **more}, cwd=state)
            return await done.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_demo()))
