"""Fixtures of the black-box tests: a running recorder, its patients, DiGA and pairings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.demo.stack import DemoStack, Options
from ddr.miv.loader import load_catalog
from ddr.settings import MivSettings, Settings
from ddr.store.database.pool import open_pool
from tests.spec.examined import examined
from tests.spec.world import Scene, furnished
from tests.support.database import fresh_database, migrated_database
from tests.support.received import received
from tests.support.recorder import Patient, Recorder, recorder

__all__ = ["examined", "received"]


@pytest.fixture(scope="session")
async def ddr(
    pool: asyncpg.Pool, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Recorder]:
    """A recorder without grace period; tests of the grace period use `strict_ddr`."""
    catalog = load_catalog(settings.miv_packages, {})
    terms = {miv.name: MivSettings(0, miv.min_historic_days, miv.vendor_holdup_seconds) for miv in catalog.mivs}
    async with recorder(pool, settings, tmp_path_factory.mktemp("recorder"), received, terms, True) as running:
        yield running


@pytest.fixture(scope="session")
async def strict_ddr(
    pool: asyncpg.Pool, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Recorder]:
    """A recorder with the Grace-Periods of the specification."""
    async with recorder(pool, settings, tmp_path_factory.mktemp("strict"), received, {}, True) as running:
        yield running


@pytest.fixture(scope="module")
async def scene(ddr: Recorder) -> Scene:
    """A patient with data of every MIV and a DiGA that reads it, for the tests of one file; leave the data as it is."""
    return await furnished(ddr)


@pytest.fixture
async def patient(ddr: Recorder) -> Patient:
    """A new patient whose app is connected and has sent nothing."""
    return await ddr.patient()


@pytest.fixture(scope="module")
async def stack(
    database_url: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DemoStack]:
    """`ddr serve` with two workers and no Grace-Period, a stand-in for the registry, accounts, and its own database."""
    folder = tmp_path_factory.mktemp("stack")
    async with fresh_database(database_url) as url:
        options = Options(
            folder,
            ports="auto",
            patients=2,
            workers=2,
            grace_seconds=0,
            database_url=url,
            statement_cache=settings.database_statement_cache,
        )
        async with DemoStack(options) as running:
            yield running


@pytest.fixture
async def alone(settings: Settings, database_url: str, tmp_path: Path) -> AsyncIterator[Recorder]:
    """A recorder with a database of its own, for tests that concern all patients."""
    async with migrated_database(database_url) as url, await open_pool(replace(settings, database_url=url)) as pool:
        own = replace(settings, database_url=url)
        async with recorder(pool, own, tmp_path / "alone", received, {}) as running:
            yield running
