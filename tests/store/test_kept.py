"""Values that a synchronous standby does not have yet: nobody is told that they are stored."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Never

import asyncpg
import pytest

from ddr.store.database.faults import FAULTS
from ddr.store.database.kept import MARK
from ddr.store.database.limits import REQUESTS
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import connect
from tests.store.continuous import PERIOD, START, register
from tests.support.citus import one_server_only
from tests.support.postgres import own_server

READINGS = [(START + slot * PERIOD, 100 + slot) for slot in range(3)]
ANOTHER = [(START + 3 * PERIOD, 103)]


async def wait_for(admin: asyncpg.Connection, standby: str, url: str) -> None:
    """Let each commit wait for this standby; "": for none.

    A session shows the setting before the checkpointer has told all of them to wait: so one is seen to do.
    """
    await admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
    await admin.execute("SELECT pg_reload_conf()")
    while await admin.fetchval("SHOW synchronous_standby_names") != standby:
        pass
    if not standby:
        await admin.execute(f"SELECT {MARK}")
        return
    other = await asyncpg.connect(url)
    commits = asyncio.create_task(commit(other))
    while not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')"):
        pass
    commits.cancel()
    await asyncio.gather(commits, return_exceptions=True)
    await other.close()


async def commit(connection: asyncpg.Connection) -> Never:
    """Again and again."""
    while True:
        await connection.execute(f"SELECT {MARK}")


@one_server_only
async def test_a_repeated_upload_waits_for_the_standby_as_the_first_one_did(tmp_path: Path) -> None:
    with own_server(tmp_path / "primary") as server:
        admin = await asyncpg.connect(server.url)
        async with await connect(server.url, 2, REQUESTS) as pool:
            await migrate(pool)
            stored = await register(pool)
            await stored.merge(READINGS, START)
            await wait_for(admin, "one_that_is_away", server.url)
            with pytest.raises(FAULTS):
                await stored.append(ANOTHER, START)
            assert len(await admin.fetchval("SELECT vals FROM chunk")) == 2 * 4, "the server has it, and shows it"
            with pytest.raises(FAULTS):
                await stored.merge(ANOTHER, START)
            await wait_for(admin, "", server.url)
            assert (await stored.merge(ANOTHER, START)).accepted == set()
        await admin.close()
