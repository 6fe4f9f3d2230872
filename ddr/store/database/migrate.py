"""Schema migrations: numbered SQL files, applied in order, each once and in its own transaction."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ddr.settings import Settings
from ddr.store.database.binaries import OLDEST
from ddr.store.database.distribute import give_back
from ddr.store.database.errors import DatabaseLost, StoreError
from ddr.store.database.faults import FAULTS, reason_of
from ddr.store.database.lineage import FILE, Lineage
from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.pool import CACHED_STATEMENTS, connect
from ddr.store.database.stamps import CLOCK

FOLDER = Path(__file__).parent / "migrations"
PATIENCE_SECONDS = 3600  # for the lock, and for each statement of a migration of a large database
MOST_DEADLOCKS = 10  # in a row, each after at least a second: writers with another order of locks do not stop
# While a migration waits for a lock, requests wait behind it. So it waits less long than requests do (REQUESTS in
# limits.py), but longer than PostgreSQL's deadlock_timeout, after which an autovacuum gives way.
LOCK_SECONDS = 1.25
PAUSE_SECONDS = 2.0  # before a retry, in which the waiting requests continue
LONG_SECONDS = 5.0  # after which the log says what a start waits for
_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_COMMENT = re.compile(r"--[^\n]*")
_STATEMENT = re.compile(r"""(?:--[^\n]*|'[^']*'|"[^"]*"|(\$\w*\$).*?\1|[^;])+""", re.DOTALL)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Migration:
    """One SQL file."""

    name: str
    sql: str

    @property
    def statements(self) -> list[str]:
        """One by one, comments included: of several in one text, Citus sends the whole text for each."""
        texts = (found[0] for found in _STATEMENT.finditer(self.sql))
        return [text for text in texts if _COMMENT.sub("", text).strip()]

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hex: an applied migration must not change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations in order of their numbers. Raises StoreError for a misnamed file or a number used twice."""
    files = sorted(folder.glob("*.sql"))
    for path in files:
        if not _NAME.fullmatch(path.name):
            raise StoreError(f"migration {path.name}: the name must look like 0001_core.sql")
    if len({path.name[:4] for path in files}) < len(files):
        raise StoreError(f"migrations in {folder}: a number is used twice")
    return [Migration(path.stem, path.read_text("utf-8")) for path in files]


async def migrate(pool: asyncpg.Pool, folder: Path = FOLDER) -> list[str]:
    """Apply the missing migrations and return their names. Several processes may run it at once.

    An installation that comes back from several servers, or from a restore without triggers, also gets its triggers.

    Raises StoreError when an applied file was changed, is unknown to this version, or fails, and for an unusable
    database: too old, not in UTF-8, read-only, or without the right to create tables. Raises DatabaseLost when the
    database goes away meanwhile: the migration in progress is not applied, those before it are.
    """
    wanted = migrations(folder)
    try:
        async with pool.acquire() as connection:
            try:
                await _check_server(connection)
                await _make_schema(connection, pool.servers.schema)
                return await _apply(connection, wanted)
            except Exception:
                if connection._con is None:  # a lost one is taken back at once
                    raise DatabaseLost(
                        "the connection to the database was lost while its schema was being migrated"
                    ) from None
                raise
    except (asyncpg.PostgresError, *FAULTS) as error:
        raise StoreError(f"the schema of the database cannot be migrated: {reason_of(error)}") from None


async def first_migration_ms(pool: asyncpg.Pool) -> int:
    """When this database got its first table, in milliseconds."""
    return int(await pool.fetchval("SELECT min(applied_ms) FROM schema_migration"))


async def check_complete(pool: asyncpg.Pool, folder: Path = FOLDER) -> None:
    """Raises StoreError when the schema lacks what this version needs. A schema with more is that of a later version.

    The files of an installation are replaced before its schema. A worker that is started in between is of this version,
    while its supervisor, which has migrated, is of the previous one.
    """
    done = {row["name"] for row in await pool.fetch("SELECT name FROM schema_migration")}
    if missing := sorted({one.name for one in migrations(folder)} - done):
        raise StoreError(
            f"the schema of the database is older than this version: it lacks migration {missing[0]}; run"
            " ddr db migrate"
        )


async def _check_server(connection: asyncpg.Connection) -> None:
    version, encoding = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
    )
    if version < OLDEST:
        raise StoreError(f"the database server is PostgreSQL {version}; at least {OLDEST} is needed")
    if encoding != "UTF8":
        raise StoreError(f"the database has the encoding {encoding}; it must be created with ENCODING 'UTF8'")


async def _make_schema(connection: asyncpg.Connection, schema: str) -> None:
    """Create the schema for the tables; does nothing when it exists, so no right to create it is needed then."""
    if not schema or await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", f'"{schema}"'):
        return
    async with connection.transaction():  # the names of locks depend on the schemas that exist
        await connection.execute("SELECT pg_advisory_xact_lock($1)", Lock.SCHEMA)
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    if await connection.fetchval("SELECT current_schema()") != schema:
        raise StoreError(
            f"the schema {schema} of the setting database_schema was created, but sessions do not use it:"
            " behind a pooler, the role or the pooler must set it (docs/database.md)"
        )


async def _apply(connection: asyncpg.Connection, wanted: list[Migration]) -> list[str]:
    """Apply the missing migrations, each in a transaction during which no other process does. A migration is retried
    after a deadlock with the previous version, which goes on writing, or when a reader such as `pg_dump` holds a table
    for long, as it is rolled back then. Raises the last of MOST_DEADLOCKS, and an error when a table is held for
    PATIENCE_SECONDS.

    Lock and limits are those of the transaction, not of the session, which a pooler would give to others.
    """
    applied: list[str] = []
    deadlocks, locked_since = 0, None
    while True:
        try:
            name = await _apply_next(connection, wanted)
        except asyncpg.DeadlockDetectedError:
            deadlocks += 1
            log.warning("database.migration_deadlocked", extra={"times": deadlocks})
            if deadlocks == MOST_DEADLOCKS:
                raise
            continue
        except asyncpg.LockNotAvailableError:
            if locked_since is None:
                log.warning("database.migration_waits")
                locked_since = time.monotonic()
            if time.monotonic() >= locked_since + PATIENCE_SECONDS:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        if name is None:
            return applied
        applied.append(name)
        deadlocks, locked_since = 0, None


async def _apply_next(connection: asyncpg.Connection, wanted: list[Migration]) -> str | None:
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        with _told_if_long():
            await connection.execute(LOCK, Lock.MIGRATION, timeout=PATIENCE_SECONDS)
        await connection.execute(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}")
        done = await _done(connection)
        _check(done, wanted)
        missing = next((migration for migration in wanted if migration.name not in done), None)
        if missing is None:
            await give_back(connection)
            return None
        await _run(connection, missing)
        return missing.name


@contextmanager
def _told_if_long(**fields: str) -> Iterator[None]:
    def tell() -> None:
        log.warning("database.migration_takes_long", extra=fields)

    late = asyncio.get_running_loop().call_later(LONG_SECONDS, tell)
    try:
        yield
    finally:
        late.cancel()


def migrate_database(settings: Settings) -> list[str]:
    """`migrate` for a command without an event loop. Raises StoreError, also when it cannot connect."""

    async def connected() -> list[str]:
        around, cache = settings.database_migration_url, settings.database_statement_cache
        async with await connect(
            around or settings.database_url, 1, cache=CACHED_STATEMENTS if around else cache,
            lineage=Lineage(settings.state_dir / FILE), schema=settings.database_schema,
        ) as pool:  # fmt: skip
            return await migrate(pool)

    return asyncio.run(connected())


async def _done(connection: asyncpg.Connection) -> dict[str, str]:
    """The checksums of the applied migrations, by name; creates their table if it is missing."""
    if await connection.fetchval("SELECT to_regclass('schema_migration') IS NULL"):  # else no right to do so is needed
        await connection.execute(
            "CREATE TABLE schema_migration (name text PRIMARY KEY, checksum text NOT NULL, applied_ms bigint NOT NULL)"
        )
    return dict(await connection.fetch("SELECT name, checksum FROM schema_migration"))


def _check(done: dict[str, str], wanted: list[Migration]) -> None:
    checksums = {migration.name: migration.checksum for migration in wanted}
    for name, checksum in sorted(done.items()):
        if name not in checksums:
            raise StoreError(
                f"the database schema is newer than this version: it has migration {name}; install the"
                " version with this migration or a later one here, or run commands on a host that has it"
                " (docs/serving.md)"
            )
        if checksums[name] != checksum:
            raise StoreError(f"migration {name} was changed after it had been applied to this database")


async def _run(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        with _told_if_long(migration=migration.name):
            for statement in migration.statements:
                await connection.execute(statement, timeout=PATIENCE_SECONDS)
        await connection.execute(
            f"INSERT INTO schema_migration (name, checksum, applied_ms) VALUES ($1, $2, {CLOCK})",  # noqa: S608
            migration.name,
            migration.checksum,
        )
    except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
        raise
    except asyncpg.PostgresError as error:
        raise StoreError(f"migration {migration.name} failed: {reason_of(error)}") from None
