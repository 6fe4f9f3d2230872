"""The asyncpg pool: JSON codec, limits on statements, and clear errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson

from ddr.settings import Settings
from ddr.store.database.errors import StoreError

Connection = asyncpg.Connection | asyncpg.Pool  # what a repository function takes: its statement runs on either

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
SERVER_SETTINGS = {
    "application_name": "ddr",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",  # short statements only: compiling costs more than it saves
}


async def open_pool(settings: Settings) -> asyncpg.Pool:
    """A pool on `settings.database_url` with at most `database_pool_size` connections. Raises StoreError."""
    return await connect(settings.database_url, settings.database_pool_size)


async def connect(url: str, size: int) -> asyncpg.Pool:
    """A pool of at most `size` connections to `url`. Raises StoreError: one line, server and reason."""
    try:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings=SERVER_SETTINGS,
            init=_init,
            reset=_keep,
        )
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreError(f"database {shown(url)}: cannot connect: {_reason(error)}") from None


def shown(url: str) -> str:
    """`url` without user and password, fit for a message."""
    try:
        parts = urlsplit(url)
        place = parts.hostname or "local socket"
        return f"{place}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "(malformed URL)"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS} s"
    return " ".join(str(error).split()) or type(error).__name__


def _encode(value: Any) -> bytes:
    return b"\x01" + orjson.dumps(value)


def _decode(data: bytes) -> Any:
    return orjson.loads(memoryview(data)[1:])


async def _init(connection: asyncpg.Connection) -> None:
    """jsonb as Python values: its binary form is the text after one byte of version."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode, decoder=_decode, format="binary")


async def _keep(connection: asyncpg.Connection) -> None:
    """Nothing to undo when a connection goes back: no caller changes session state; a reset costs a round trip.

    asyncpg itself rolls an open transaction back before this is called.
    """
