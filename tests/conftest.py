"""Fixtures for every room: a migrated database, a Core with settable clock and allow list, a new patient."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.miv.loader import load_catalog
from ddr.settings import Settings, load_settings
from ddr.store.database.ids import IdCipher
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import open_pool
from ddr.store.database.secrets import load_secrets
from tests.support.clock import Clock
from tests.support.database import embedded_server, fresh_database
from tests.support.openid_fixtures import oidc_core, oidc_settings, openid, provider, provider_key  # noqa: F401
from tests.support.trust import FakeTrust


@pytest.fixture(scope="session")
async def database_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """An empty database, used by this run only."""
    server = os.environ.get("DDR_TEST_DATABASE_URL")
    with nullcontext(server) if server else embedded_server(tmp_path_factory.mktemp("database")) as server_url:
        async with fresh_database(server_url) as url:
            yield url


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings for tests: built-in accounts, state in a temporary directory, DDR_* of the environment ignored."""
    state: Path = tmp_path_factory.mktemp("state")
    return load_settings({}, database_url=database_url, state_dir=state, allow_builtin_accounts=True)


@pytest.fixture(scope="session")
async def pool(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """A pool on the migrated database; tests share it and keep apart by patient."""
    pool = await open_pool(settings)
    await migrate(pool)
    yield pool
    await pool.close()


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
    secrets = await load_secrets(pool)
    return Core(
        settings=settings,
        pool=pool,
        catalog=load_catalog(settings.miv_packages, settings.miv),
        ids=IdCipher(secrets["resource-ids"]),
        secrets=secrets,
        registry=trust,
        signer=None,
        clock=clock,
    )


@pytest.fixture
async def patient_id(pool: asyncpg.Pool, clock: Clock) -> uuid.UUID:
    """A new patient without devices or data."""
    patient = uuid.uuid4()
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, $2)", patient, clock())
    return patient
