"""What the operator's commands share: the database, opened and up to date, and instants as arguments and as text."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from ddr.fhir.instants import date_time, parse_date_time
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.audit.journal import JOURNAL
from ddr.store.database.embedded import database
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.migrate import migrate_database
from ddr.store.database.pool import open_pool

T = TypeVar("T")


def with_database(action: Callable[[Settings, asyncpg.Pool], Awaitable[T]]) -> T:
    """The result of `action` with settings and a pool on the migrated database. Raises StoreError, SettingsError."""

    async def act(settings: Settings) -> T:
        async with await open_pool(settings, BACKGROUND) as pool:
            return await action(settings, pool)

    with database(load_settings()) as settings:
        migrate_database(settings)
        with JOURNAL.kept_in(settings.journal_folder):
            return asyncio.run(act(settings))


def instant_argument(text: str) -> int:
    """The begin of a FHIR dateTime in milliseconds, as a type for argparse."""
    try:
        return parse_date_time(text)[0]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}") from None


def shown_instant(ms: int | None) -> str:
    """An instant to the second, `never` for none."""
    return date_time(ms // 1000 * 1000) if ms else "never"
