"""Runs the benches one after the other on an embedded PostgreSQL and prints one table."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.database.embedded import database
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import open_pool
from tests.bench import bridge, gateway, serving, statements, storage, summary
from tests.bench.table import Row
from tests.support.received import Received
from tests.support.recorder import recorder

console = Console()


def main() -> int:
    """0 when every promise was kept."""
    with tempfile.TemporaryDirectory(prefix="ddr-bench-") as temporary:
        rows = asyncio.run(measure(Path(temporary)))
    table = Table("figure", "measured", "compared")
    for row in rows:
        table.add_row(row.name, row.value, row.compared, style="" if row.kept else "red")
    console.print(table)
    return 0 if all(row.kept for row in rows) else 1


async def measure(folder: Path) -> list[Row]:
    """All figures; one bench at a time, so that they do not disturb each other."""
    return [
        *await with_database(folder / "storage", storage.run),
        *await with_database(folder / "recorder", lambda pool: _recorder(pool, folder)),
        *summary.run(),
        *await serving.run(folder),
    ]


async def with_database(folder: Path, bench: Callable[[asyncpg.Pool], Awaitable[list[Row]]]) -> list[Row]:
    """Run `bench` on an empty, migrated database."""
    with database(_settings(folder)) as stored:
        async with await open_pool(stored) as pool:
            await migrate(pool)
            return await bench(pool)


def _settings(folder: Path) -> Settings:
    return load_settings({}, state_dir=folder, allow_builtin_accounts=True)


async def _recorder(pool: asyncpg.Pool, folder: Path) -> list[Row]:
    async with recorder(pool, _settings(folder), folder / "listeners", Received(), {}) as running:
        return [
            *await statements.run(running),
            *await gateway.run(running.core),
            *await bridge.run(running.core),
        ]


if __name__ == "__main__":
    sys.exit(main())
