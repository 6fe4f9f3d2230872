"""PgBouncer in transaction mode: settings, limits, turns at housekeeping, and a clear error without the settings."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import asyncpg
import httpx
import pytest

from ddr.demo.cast import GLUKOBUCH
from ddr.demo.stack import DemoStack, Options
from ddr.operations import housekeeping
from ddr.settings import Settings
from ddr.store.database import leases
from ddr.store.database.errors import StoreError
from ddr.store.database.limits import BACKGROUND, REQUESTS
from ddr.store.database.migrate import migrate_database
from ddr.store.database.pool import connect, open_pool
from tests.soak.chaos import supervisor
from tests.spec.conftest import received
from tests.spec.world import BG, CGM, Home
from tests.support.database import fresh_database
from tests.support.grace import pass_time
from tests.support.pooler import pooler, through
from tests.support.postgres import Server, own_server
from tests.support.processes import children, send
from tests.support.reached import on
from tests.support.recorder import recorder

pytestmark = pytest.mark.packaging
SHORT_LEASE_MS = 1500
_ADVISORY = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL behind the pooler."""
    with own_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def pooled(server: Server) -> Iterator[str]:
    """The URL through a pooler with two connections to the server for everybody."""
    with pooler(server.url, connections=2) as folder:
        yield through(folder, server.url)


@pytest.fixture
def own(pooled: str, settings: Settings, tmp_path: Path) -> Settings:
    """The settings for it, and the schema."""
    found = replace(settings, database_url=pooled, database_statement_cache=0, state_dir=tmp_path)
    migrate_database(found)
    return found


async def test_without_the_setting_one_line_says_what_to_do(pooled: str) -> None:
    with pytest.raises(StoreError, match="a pooler refuses settings of a session: set database_statement_cache to 0"):
        await connect(pooled, 1, cache=100)


async def test_in_session_mode_the_limits_hold_too(server: Server) -> None:
    """With the line of docs/database.md, where the pooler does not pass on what a session begins with."""
    page = (Path(__file__).parents[2] / "docs/database.md").read_text()
    (ignored,) = re.findall(r"Session mode works with `ignore_startup_parameters = ([\w,]+)`", page)
    with pooler(server.url, connections=3, mode="session", ignored=ignored) as folder:
        for limits, held in ((REQUESTS, ["6250ms", "1500ms"]), (BACKGROUND, ["75s", "10s"])):
            async with await connect(through(folder, server.url), 1, limits=limits) as pool:
                assert [await pool.fetchval(f"SHOW {name}_timeout") for name in ("statement", "lock")] == held


async def test_the_limits_hold_in_transactions(own: Settings) -> None:
    async with await open_pool(own) as pool, pool.acquire() as connection:
        async with connection.transaction():
            assert await connection.fetchval("SHOW statement_timeout") == "6250ms"
            assert await connection.fetchval("SHOW lock_timeout") == "1500ms"
        assert await connection.fetchval("SHOW statement_timeout") == "0"  # it belongs to no session
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(20)")
        assert await connection.fetchval("SELECT 1") == 1
        assert await pool.ready()


async def test_each_recorder_has_its_schema_by_its_own_line(server: Server, settings: Settings, tmp_path: Path) -> None:
    """As docs/database.md describes it (`connect_query`); a connection without such a line is refused."""
    with pooler(server.url, connections=1, schemas=("glucose", "pressure")) as folder:
        found = []
        for name in ("glucose", "pressure"):
            url = on(through(folder, server.url), name)
            found.append(
                replace(
                    settings, database_url=url, database_schema=name, database_statement_cache=0, state_dir=tmp_path
                )
            )
            await asyncio.to_thread(migrate_database, found[-1])
        async with await open_pool(found[0]) as glucose, await open_pool(found[1]) as pressure:
            await glucose.execute("INSERT INTO patient (patient_id, created_ms) VALUES (gen_random_uuid(), 1)")
            counts = (pool.fetchval("SELECT count(*) FROM patient") for pool in (glucose, pressure) for _ in range(6))
            assert await asyncio.gather(*counts) == [1] * 6 + [0] * 6
        with pytest.raises(StoreError, match="use the schema public, not glucose of the setting database_schema"):
            await open_pool(replace(found[0], database_url=through(folder, server.url)))


async def test_a_recorder_works(own: Settings, server: Server, tmp_path: Path) -> None:
    """Migrations, pairing, uploads, many simultaneous searches, and housekeeping."""
    assert await value(server, _ADVISORY) == 0  # a session that survives the test would make the next start wait
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
        mark = secrets.token_bytes(8)
        assert await leases.take(pool, housekeeping.JOB, mark)  # nobody has kept the turn
        await leases.give_back(pool, housekeeping.JOB, mark)
        assert (await ddr.admin.get("/readyz")).status_code == 200


async def test_two_workers_never_keep_house_at_once(own: Settings, server: Server) -> None:
    """Two processes, like workers of two hosts, take turns behind the pooler, as the order of entries shows."""
    await turns_begin(server)
    workers = [worker(own, name, leases.LEASE_MS, "round") for name in ("a", "b")]
    for each in workers:
        assert await asyncio.to_thread(each.wait, 180) == 0
    steps = [
        tuple(row) for row in await rows(server, "SELECT who, step FROM turn WHERE step <> 'here' ORDER BY turn_no")
    ]
    assert {who for who, _ in steps} == {"a", "b"}
    for (who, first), (other, then) in zip(steps[::2], steps[1::2], strict=True):
        assert (first, then, who) == ("in", "out", other), steps
    assert len(list(groupby(who for who, _ in steps))) > 2  # neither waited for the other's end
    assert await value(server, _ADVISORY) == 0


async def test_a_turn_does_not_outlive_its_process(own: Settings, server: Server) -> None:
    await turns_begin(server)
    dead = worker(own, "dead", SHORT_LEASE_MS, "hold")
    try:
        await until(server, "SELECT count(*) FROM turn WHERE who = 'dead'", 1)
        next_one = worker(own, "next", SHORT_LEASE_MS, "hold")
        try:
            await asyncio.sleep(2 * SHORT_LEASE_MS / 1000)  # longer than a lease, which a living holder renews
            assert await value(server, "SELECT count(*) FROM turn WHERE who = 'next'") == 0
            dead.send_signal(signal.SIGKILL)
            await until(server, "SELECT count(*) FROM turn WHERE who = 'next'", 1)
        finally:
            next_one.kill()
            next_one.wait()
    finally:
        dead.kill()
        dead.wait()


async def test_a_worker_that_is_killed_charges_no_grace_period_for_long(server: Server, tmp_path: Path) -> None:
    """Its session is the pooler's and continues: the claim ends by the database's clock, and not before."""
    async with fresh_database(server.url) as direct:
        with pooler(direct, connections=8) as folder:
            options = Options(
                tmp_path, ports="auto", patients=1, workers=2, database_url=through(folder, direct), statement_cache=0,
                faults=False,
            )  # fmt: skip
            async with DemoStack(options) as stack:
                await killed_while_searching(stack, direct)


async def killed_while_searching(stack: DemoStack, direct: str) -> None:
    """A search waits for a lock while all workers are killed; `direct` is the database without the pooler."""
    tokens = await stack.pair(GLUKOBUCH, stack.patients[0], [BG])
    headers = {"authorization": f"Bearer {tokens.access_token}"}
    own = await asyncpg.connect(direct)

    async def search() -> int:
        async with stack.client(stack.certificate(GLUKOBUCH)) as http:
            return (await http.get(f"{stack.settings.fhir_base}/Observation", headers=headers)).status_code

    async def claimed(wanted: bool) -> None:
        async with asyncio.timeout(120):
            while wanted != await own.fetchval("SELECT EXISTS (SELECT FROM grace WHERE pending <> '{}')"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async with own.transaction():
        await own.execute("LOCK TABLE measurement")
        lost = asyncio.create_task(search())
        await claimed(True)
        workers = children(supervisor(stack.options.state_dir))
        assert len(workers) == 2
        for each in workers:
            send(each)
        assert isinstance((await asyncio.gather(lost, return_exceptions=True))[0], httpx.TransportError)
    async with asyncio.timeout(180):
        while (answered := await status_of(search)) not in (200, 429):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert answered == 429, "nothing tells yet that its worker is gone"
    await pass_time(own)
    assert await search() == 200
    await claimed(False)
    await pass_time(own)
    assert await search() == 429


async def status_of(search: Callable[[], Awaitable[int]]) -> int:
    """The status of the search; 0 while nobody listens."""
    try:
        return await search()
    except httpx.TransportError:
        return 0


def worker(settings: Settings, name: str, lease_ms: int, how: str) -> subprocess.Popen[bytes]:
    """A process that takes turns."""
    arguments = ("-m", "tests.support.turns", settings.database_url, name, str(lease_ms), how)
    return subprocess.Popen([sys.executable, *arguments], cwd=Path(__file__).parents[2])


async def turns_begin(server: Server) -> None:
    """Nobody has a turn, and none is recorded."""
    await value(server, "DROP TABLE IF EXISTS turn")
    await value(server, "CREATE TABLE turn (turn_no bigserial, who text NOT NULL, step text NOT NULL)")
    await value(server, "DELETE FROM job_lease")


async def until(server: Server, query: str, wanted: int) -> None:
    """Wait for this answer of the server."""
    async with asyncio.timeout(120):
        while await value(server, query) != wanted:  # noqa: ASYNC110 - asked from outside
            await asyncio.sleep(0.05)


async def value(server: Server, query: str) -> object:
    found = await rows(server, query)
    return found[0][0] if found else None


async def rows(server: Server, query: str) -> list[asyncpg.Record]:
    """On the server itself."""
    connection = await asyncpg.connect(server.url)
    try:
        found: list[asyncpg.Record] = await connection.fetch(query)
        return found
    finally:
        await connection.close()
