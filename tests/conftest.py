"""Fixtures for every room: a migrated database, a Core with a settable clock and allow list, a new patient.

Tests run in parallel (pytest-xdist): the process that distributes them starts one embedded PostgreSQL for all, and each
worker copies a database of its own from one template.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import hypothesis
import pytest

from ddr.http.core import Core
from ddr.oauth.grants import unanswered
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.database.pool import open_pool
from tests.support import capture, citus, day, discipline, pooler
from tests.support.clock import Clock
from tests.support.core import core_on
from tests.support.database import embedded_server, migrated_database
from tests.support.ending import in_time
from tests.support.loop import Loop
from tests.support.openid_fixtures import oidc_core, oidc_settings, openid, provider, provider_key  # noqa: F401
from tests.support.received import received
from tests.support.trust import FakeTrust

SERVER = "DDR_TEST_DATABASE_URL"
BEYOND = ("slow", "browser", "scanner", "packaging")
LONG_SECONDS = 900
LONGEST = (  # of those, in this order
    "tests/docs/test_operator_guide.py",
    "tests/packaging/test_wheel.py",
    "tests/conform/test_bites.py",
    "tests/spec/test_reg_life.py",
    "tests/packaging/test_conformance_kit.py",
    "tests/test_example_client.py",
    "tests/cli/test_recovery.py",
    "tests/demo/test_sandbox.py",
    "tests/packaging/test_release.py",
    "tests/demo/test_diga_guide.py",
    "tests/demo/test_demo.py",
    "tests/demo/test_example.py",
    "tests/cli/test_recorders.py",
    "tests/spec/test_ops_maintenance.py",
    "tests/cli/test_failover.py",
    "tests/packaging/test_previous_version.py",
    "tests/spec/test_ops_log_durable.py",
    "tests/cli/test_rotate_encryption.py",
    "tests/poller/test_poller.py",
    "tests/gateway/test_durability.py",
)
hypothesis.settings.register_profile("busy", deadline=None)  # a slow example on a busy machine is not a failure
hypothesis.settings.register_profile(  # make mutation: a fault has to be found, not shrunk
    "mutation",
    deadline=None,
    max_examples=10,
    derandomize=True,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)
hypothesis.settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that start recorders of their own more time on a slow machine, and begin with the slowest files.

    A file runs on one core: a slow one that began last would keep the other cores waiting (with
    --no-loadscope-reorder).
    """
    for item in items:
        if not item.get_closest_marker("timeout") and any(map(item.get_closest_marker, BEYOND)):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))
    order = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


def pytest_configure(config: pytest.Config) -> None:
    """Start the PostgreSQL of a parallel run; its workers inherit the environment."""
    hands_out = not hasattr(config, "workerinput") and config.getoption("dist", "no") != "no"
    if hands_out and not config.option.collectonly and SERVER not in os.environ:
        stack = ExitStack()
        folder = stack.enter_context(TemporaryDirectory(prefix="ddr-tests-"))
        Path(folder).chmod(0o755)  # the server may run under another account
        os.environ[SERVER] = stack.enter_context(embedded_server(Path(folder)))
        stack.callback(os.environ.pop, SERVER)
        if os.environ.get(pooler.WANTED):
            os.environ[pooler.FOLDER] = str(stack.enter_context(pooler.pooler(os.environ[SERVER], connections=12)))
            stack.callback(os.environ.pop, pooler.FOLDER)
        config.add_cleanup(stack.close)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Store what this process received for the validator, which runs separately."""
    if (folder := session.config.getoption("--evidence")) and received.bodies:
        received.write(folder)


capture.capture()
pooler.own_connections_fit()
citus.take_as_spread()
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]  # the tests talk to this machine only


@pytest.fixture(scope="session", autouse=True)
def nothing_left_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An account that cannot reach the temporary directories has its data elsewhere, with a link to it."""
    yield
    for link in tmp_path_factory.getbasetemp().rglob("postgres"):
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)


@pytest.fixture(autouse=True)
def disciplined() -> Iterator[None]:
    """Each statement names its patient on every table of patient data, or is in tests/support/fan_out.py."""
    yield
    assert not (found := discipline.undisciplined(capture.taken())), found


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """Work left over from a lost database is retried for a minute or more, during later tests."""
    yield
    for task in unanswered._running:
        task.cancel()


@pytest.fixture(autouse=True)
def begun_on_its_day() -> None:
    """A test during which the day would end begins on the next day."""
    day.begin()


@pytest.fixture
async def loop() -> Loop:
    """The running loop, for tests that are not coroutines."""
    return Loop(asyncio.get_running_loop().run_until_complete)


@pytest.fixture(scope="session")
async def database_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A database with the schema and nothing else, used by this process only."""
    server = os.environ.get(SERVER)
    with nullcontext(server) if server else embedded_server(tmp_path_factory.mktemp("database")) as server_url:
        async with migrated_database(server_url) as url:
            yield url


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings for tests: built-in accounts, state in a temporary directory, DDR_* of the environment ignored."""
    state: Path = tmp_path_factory.mktemp("state")
    more = {} if (cache := pooler.statement_cache()) is None else {"database_statement_cache": cache}
    return load_settings({}, database_url=database_url, state_dir=state, allow_builtin_accounts=True, **more)


@pytest.fixture(scope="session")
async def pool(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """A pool on the migrated database; tests share it and use patients of their own."""
    pool = await open_pool(settings)
    yield pool
    async with in_time():
        await pool.close()


@pytest.fixture
async def own_url(database_url: str) -> AsyncIterator[str]:
    """A database of this test's own, with the schema and nothing else."""
    async with migrated_database(database_url) as url:
        yield url


@pytest.fixture
async def own_pool(settings: Settings, own_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on it."""
    async with await open_pool(replace(settings, database_url=own_url)) as pool:
        yield pool


@pytest.fixture
def clock() -> Clock:
    """The clock of `core`."""
    return Clock()


@pytest.fixture
def trust() -> FakeTrust:
    """The allow list of `core`, empty."""
    return FakeTrust()


@pytest.fixture
async def core(settings: Settings, pool: asyncpg.Pool, clock: Clock, trust: FakeTrust) -> Core:
    """A Core with the real catalogue and the fakes above."""
    return await core_on(pool, settings, clock, trust)


@pytest.fixture
async def patient_id(pool: asyncpg.Pool, clock: Clock) -> uuid.UUID:
    """A new patient without devices or data."""
    patient = uuid.uuid4()
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, $2)", patient, clock())
    return patient
