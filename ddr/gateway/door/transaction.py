"""All or nothing: runs the functions of the API on one connection, within one database transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg

from ddr.gateway.writing import writing
from ddr.http.core import Core
from ddr.http.writers import Writers
from ddr.store.series.sensors import Remembered


class OneConnection:
    """A pool of one connection, so that every transaction opened in it is a savepoint of the outer one."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn = conn

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection."""
        yield self._conn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


@asynccontextmanager
async def transaction(core: Core, patient_id: UUID) -> AsyncIterator[Core]:
    """A Core whose changes to this patient take effect together, or not at all when an exception leaves the block.

    It remembers tails of series only for itself, because what is rolled back must not be known afterwards. It counts as
    one writer, whatever is written in it.
    """
    async with writing(core, patient_id) as (conn, _):
        yield replace(core, pool=OneConnection(conn), sensors=Remembered(), writers=Writers())
