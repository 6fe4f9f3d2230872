"""Shared by the operator's commands: the migrated database, its clock, reading and writing instants."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

import asyncpg

from ddr.cli.ending import waking
from ddr.cli.errors import CommandError
from ddr.cli.serving import log as technical_log
from ddr.fhir.instants import date_time, parse_date_time
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.audit.journal import JOURNAL
from ddr.store.database.clock import DatabaseClock
from ddr.store.database.embedded import database
from ddr.store.database.faults import reason_of
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.migrate import migrate_database
from ddr.store.database.pool import Pool, open_pool
from ddr.store.database.replica import Replica

T = TypeVar("T")
_CLOCK: ContextVar[DatabaseClock] = ContextVar("clock")


def with_database(action: Callable[[Settings, Pool], Awaitable[T]]) -> T:
    """The result of `action` with settings and a pool on the migrated database.

    Raises StoreError, SettingsError, and CommandError for an argument that no column can hold, for a database that
    rejects the statement or becomes unavailable, and for an end that could not be written to the journal.
    """

    async def act(settings: Settings) -> T:
        async with await open_pool(settings, BACKGROUND) as pool:
            _CLOCK.set(clock := DatabaseClock())
            await clock.read(pool)
            return await action(settings, pool)

    with database(load_settings()) as settings, database_faults_in_one_line():
        migrate_database(settings)
        with JOURNAL.kept_in(settings.journal_folder):
            result = waking(act(settings))
            if JOURNAL.unwritten:
                raise CommandError(
                    f"the change was made, but could not be written to the journal of ends {settings.journal_folder}:"
                    f" {JOURNAL.unwritten}; a restore would undo it"
                )
            return result


def act(args: argparse.Namespace) -> int:
    """Carry out the action in `args` with settings and a pool; returns its exit status. Raises as `with_database`."""
    return with_database(lambda settings, pool: args.does(args, settings, pool)) or 0


@contextmanager
def database_faults_in_one_line() -> Iterator[None]:
    """Turns database faults in the block into one line: it is unavailable, a standby, or locked.

    Raises CommandError.
    """
    technical_log.for_commands()
    try:
        yield
    except BrokenPipeError:  # of standard output
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError) as error:
        if isinstance(error, asyncpg.DataError | ValueError):  # its message quotes the value
            raise CommandError("an argument is not UTF-8") from None
        raise CommandError(f"database: {reason_of(error)}") from None
    except TimeoutError as error:
        raise CommandError(f"database: {reason_of(error) if str(error) else 'no response in time'}") from None


def now_ms() -> int:
    """The present instant in milliseconds since 1970-01-01T00:00:00Z by the database's clock, as for every recorder.

    The clock of the host where the command is typed may be wrong. Raises LookupError outside `with_database`.
    """
    return _CLOCK.get()()


@asynccontextmanager
async def reading(settings: Settings, pool: Pool) -> AsyncIterator[Pool]:
    """The pool for read-only work: the replica's, if there is one and it has caught up with the primary; else
    `pool`."""
    if not settings.database_replica_url:
        yield pool
        return
    replica = Replica(settings, BACKGROUND)
    await replica.look(pool)
    try:
        yield await replica.instead_of(pool)
    finally:
        replica.close()


def instant_argument(text: str) -> int:
    """The beginning of a FHIR dateTime in milliseconds, as a type for argparse; it must have a valid year in UTC,
    too."""
    try:
        ms = parse_date_time(text)[0]
    except ValueError:
        asked = "neither a day like 2027-07-12 nor a time with seconds and zone like 2027-07-12T22:00:00+02:00"
        raise argparse.ArgumentTypeError(f"{text!r} is {asked}") from None
    try:
        date_time(ms)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is before the year 1 or after 9999 in UTC") from None
    return ms


def shown_instant(ms: int | None) -> str:
    """An instant to the second, `never` for none."""
    return date_time(ms // 1000 * 1000) if ms else "never"
