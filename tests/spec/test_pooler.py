"""Behind PgBouncer in transaction mode: the settings for it, its limits, and a clear line without them."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.operations import housekeeping
from ddr.settings import Settings
from ddr.store.database import leases
from ddr.store.database.errors import StoreError
from ddr.store.database.migrate import migrate_database
from ddr.store.database.pool import connect, open_pool
from tests.spec.conftest import received
from tests.spec.world import CGM, Home
from tests.support.postgres import Server, own_server
from tests.support.recorder import recorder

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
PORT = 6432
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs pgbouncer")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL behind the pooler."""
    with own_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def pooled(server: Server) -> Iterator[str]:
    """The URL through a pooler with two connections to the server for everybody."""
    assert PROGRAM is not None
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    server.account.own(folder)
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\npostgres = host={server.run_dir} user=ddr\n[pgbouncer]\nunix_socket_dir = {folder}\n"
        f"listen_port = {PORT}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
        f"logfile = {folder}/log\n"
    )
    user = server.account.user
    process = subprocess.Popen(
        [PROGRAM, "-q", config],
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"postgresql://ddr@/postgres?host={folder}&port={PORT}"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


async def _fetch(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        found: list[asyncpg.Record] = await connection.fetch(query)
        return found
    finally:
        await connection.close()


async def there(url: str) -> None:
    """Wait until the pooler takes connections."""
    async with asyncio.timeout(10):
        while True:
            with suppress(OSError, asyncpg.PostgresError):
                await (await asyncpg.connect(url, statement_cache_size=0)).close()
                return
            await asyncio.sleep(0.05)


async def test_without_the_setting_one_line_says_what_to_do(pooled: str) -> None:
    await there(pooled)
    with pytest.raises(StoreError, match="a pooler refuses settings of a session: set database_statement_cache to 0"):
        await connect(pooled, 1)


async def test_the_limits_hold_in_transactions(pooled: str, settings: Settings, tmp_path: Path) -> None:
    await there(pooled)
    own = replace(settings, database_url=pooled, database_statement_cache=0, state_dir=tmp_path)
    async with await open_pool(own) as pool, pool.acquire() as connection:
        async with connection.transaction():
            assert await connection.fetchval("SHOW statement_timeout") == "6250ms"
            assert await connection.fetchval("SHOW lock_timeout") == "1500ms"
        assert await connection.fetchval("SHOW statement_timeout") == "0"  # it belongs to nobody
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(20)")
        assert await connection.fetchval("SELECT 1") == 1
        assert await pool.ready()


async def test_a_recorder_works(pooled: str, server: Server, settings: Settings, tmp_path: Path) -> None:
    """Migrations, pairing, uploads, many searches at once, housekeeping."""
    await there(pooled)
    own = replace(
        settings,
        database_url=pooled,
        database_statement_cache=0,
        state_dir=tmp_path,
    )
    await asyncio.to_thread(migrate_database, own)
    locks = await _fetch(server.url, "SELECT FROM pg_locks WHERE locktype = 'advisory'")
    assert not locks  # a session that outlives us would keep the next start waiting
    async with await open_pool(own) as pool, recorder(pool, own, tmp_path / "recorder", received, {}) as ddr:
        diga, patient = await ddr.diga(), await ddr.patient()
        tokens = await ddr.pair(diga, patient, CGM)
        await Home(ddr, patient).furnish()
        headers = {"authorization": f"Bearer {tokens.access_token}"}
        for _ in range(3):
            answers = await asyncio.gather(*(diga.http.get("Device", headers=headers) for _ in range(8)))
            assert {answer.status_code for answer in answers} == {200}
        for _ in range(5):
            await asyncio.gather(*(housekeeping.one_round(ddr.core) for _ in range(2)))
        assert await leases.take(pool, housekeeping.JOB, secrets.token_bytes(8))  # nobody kept the turn
        assert (await ddr.admin.get("/readyz")).status_code == 200
