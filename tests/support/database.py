"""Databases for tests: on the server of DDR_TEST_DATABASE_URL, else on an embedded one; empty, or with the schema."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from ddr.store.database.binaries import folders, major_version
from ddr.store.database.embedded import embedded
from ddr.store.database.migrate import migrate, migrations
from ddr.store.database.pool import connect
from tests.support.citus import AS_IF, COORDINATOR, be_as_if_spread, spread_database
from tests.support.pooler import before, behind
from tests.support.reached import execute, on


@asynccontextmanager
async def fresh_database(server_url: str, template: str = "template1") -> AsyncIterator[str]:
    """The URL of a new database on `server_url`, empty unless it copies `template`; dropped afterwards."""
    name, server_url = f"ddr_test_{os.getpid()}_{secrets.token_hex(4)}", itself(server_url)
    await execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield behind(on(server_url, name))
    finally:
        await execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def migrated_database(server_url: str) -> AsyncIterator[str]:
    """The URL of a new database with the schema and nothing else; dropped afterwards."""
    if coordinator := os.environ.get(COORDINATOR):
        async with spread_database(coordinator) as url:
            yield url
        return
    async with fresh_database(server_url, await _template(itself(server_url))) as url:
        if AS_IF in os.environ:
            await be_as_if_spread(url)
        yield url


async def _template(server_url: str) -> str:
    """A database with the schema of the present migrations, created by its first user; it stays on the server."""
    schema = hashlib.sha256("".join(each.sql for each in migrations()).encode()).hexdigest()[:16]
    name = f"ddr_template_{schema}"
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", name)
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f"DROP DATABASE IF EXISTS {name}_new WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {name}_new TEMPLATE template1")
            pool = await connect(on(server_url, f"{name}_new"), 1)
            await migrate(pool)
            await pool.close()
            await connection.execute(f"ALTER DATABASE {name}_new RENAME TO {name}")
    finally:
        await connection.close()
    return name


@contextmanager
def embedded_server(state_dir: Path) -> Iterator[str]:
    """The URL of an embedded server below `state_dir`; its data is removed afterwards, wherever it had to be stored."""
    try:
        with embedded(state_dir) as url:
            yield url
    finally:
        shutil.rmtree((state_dir / "postgres").resolve(), ignore_errors=True)


def itself(url: str) -> str:
    """The same database, directly on the server, in a run behind a pooler."""
    return before(url, os.environ.get("DDR_TEST_DATABASE_URL", url))


@asynccontextmanager
async def restored_database(server_url: str, dump: Path) -> AsyncIterator[str]:
    """The URL of a new database restored from `dump` (of `dumped`) by PostgreSQL's own program."""
    async with fresh_database(server_url) as url:
        _run(await _program(server_url, "pg_restore"), "--exit-on-error", "--no-owner", "-d", itself(url), str(dump))
        if COORDINATOR in os.environ:  # one server again (docs/scaling.md): it lacks the removed triggers
            pool = await connect(url, 1)
            await migrate(pool)
            await pool.close()
        yield url


async def dumped(url: str, dump: Path) -> None:
    """Back the database up to the file `dump` with PostgreSQL's own program."""
    _run(await _program(url, "pg_dump"), "-Fc", "-f", str(dump), itself(url))


async def _program(url: str, name: str) -> str:
    """A program as new as the server: of the embedded installation, or on PATH."""
    connection = await asyncpg.connect(url)
    server = connection.get_server_version().major
    await connection.close()
    for folder in folders():
        if (folder / name).exists() and major_version(folder) >= server:
            return str(folder / name)
    raise AssertionError(f"no {name} of PostgreSQL {server}")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
