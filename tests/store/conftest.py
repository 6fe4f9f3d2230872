"""A database of its own for tests of what a plan reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from ddr.settings import Settings
from ddr.store.database.pool import open_pool
from tests.support.database import migrated_database


@pytest.fixture
async def own(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database in which nobody was before: what plans are made of is what the test puts there."""
    async with migrated_database(settings.database_url) as url:
        pool = await open_pool(replace(settings, database_url=url))
        yield pool
        await pool.close()
