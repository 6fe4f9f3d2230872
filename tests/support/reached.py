"""URLs of a server's databases by name, and statements executed there on a connection of their own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg


def on(server_url: str, name: str) -> str:
    """The URL of the database `name` on the server of another one."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


async def execute(url: str, statement: str) -> None:
    """Execute a statement outside a pool, as those that create and drop databases."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def fetchval(url: str, statement: str) -> Any:
    """The first value that a statement returns, likewise."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
