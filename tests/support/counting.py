"""Counts the SQL statements that a piece of work takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import asyncpg


@asynccontextmanager
async def counted(pool: asyncpg.Pool) -> AsyncIterator[list[str]]:
    """The statements that connections of `pool` execute meanwhile, including new connections."""
    statements: list[str] = []

    def note(record: Any) -> None:
        if "typeinfo" not in record.query and "'jit'" not in record.query:  # asyncpg looks up types once
            statements.append(record.query)

    async def made(connection: Any) -> None:
        if begin is not None:
            await begin(connection)
        connection.add_query_logger(note)

    for connection in await _idle(pool):
        connection.add_query_logger(note)
        await pool.release(connection)
    begin = pool._init
    with patch.object(pool, "_init", made):
        yield statements
    await asyncio.sleep(0)  # asyncpg reports a statement in the next iteration of the event loop
    for connection in await _idle(pool):
        connection.remove_query_logger(note)
        await pool.release(connection)


async def _idle(pool: asyncpg.Pool) -> list[Any]:
    return [await pool.acquire() for _ in range(pool.get_size())]
