"""A fresh database per test run: on the server of DDR_TEST_DATABASE_URL, else on an embedded one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from ddr.store.database.embedded import embedded


@asynccontextmanager
async def fresh_database(server_url: str) -> AsyncIterator[str]:
    """The URL of a new, empty database on `server_url`; dropped afterwards."""
    name = f"ddr_test_{os.getpid()}_{secrets.token_hex(4)}"
    await _execute(server_url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def embedded_server(state_dir: Path) -> Iterator[str]:
    """The URL of an embedded server below `state_dir`; its data is removed afterwards, wherever it had to live."""
    try:
        with embedded(state_dir) as url:
            yield url
    finally:
        shutil.rmtree((state_dir / "postgres").resolve(), ignore_errors=True)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
