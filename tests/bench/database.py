"""An embedded database for a section of the bench, empty or with a recorder on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.database.embedded import database
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import open_pool
from tests.bench.figure import Figure
from tests.support.received import Received
from tests.support.recorder import Recorder, recorder


async def on_database(folder: Path, bench: Callable[[asyncpg.Pool], Awaitable[list[Figure]]]) -> list[Figure]:
    """Run `bench` on an empty, migrated database."""
    with database(_settings(folder)) as stored:
        async with await open_pool(stored) as pool:
            await migrate(pool)
            return await bench(pool)


async def on_recorder(folder: Path, bench: Callable[[Recorder], Awaitable[list[Figure]]]) -> list[Figure]:
    """Run `bench` on a recorder in this process, whose database is empty."""
    with database(_settings(folder)) as stored:
        async with await open_pool(stored) as pool:
            await migrate(pool)
            async with recorder(pool, stored, folder / "listeners", Received(), {}) as running:
                return await bench(running)


def _settings(folder: Path) -> Settings:
    return load_settings({}, state_dir=folder, embedded=True, allow_builtin_accounts=True)
