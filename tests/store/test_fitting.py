"""Acknowledged data is on the disk, whatever the role's or the server's own settings."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from ddr.settings import Settings
from ddr.store.database import fitting
from ddr.store.database.errors import StoreError
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import open_pool
from tests.support.citus import one_server_only
from tests.support.database import fresh_database
from tests.support.pooler import direct_only
from tests.support.reached import execute

SETTINGS = ("synchronous_commit", "default_transaction_isolation", "bytea_output")
LANGUAGE = {"standard_conforming_strings": "on", "array_nulls": "on"}  # on: as we write it
ENDS = ("idle_session_timeout", "transaction_timeout")  # the second one since PostgreSQL 17


@pytest.fixture
async def own(settings: Settings, database_url: str) -> AsyncIterator[Settings]:
    """Of a database whose sessions begin as somebody has set them."""
    async with fresh_database(database_url) as url:
        yield replace(settings, database_url=url)


async def sessions_begin(own: Settings, **values: str) -> None:
    """From now on."""
    async with await open_pool(own, size=1) as pool:
        name = await pool.fetchval("SELECT current_database()")
        for setting, value in values.items():
            await pool.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")


async def found(own: Settings) -> list[Any]:
    """What the settings are in a session of a pool, two of which are made."""
    async with await open_pool(own, size=2) as pool, pool.acquire(), pool.acquire() as second:
        return [await second.fetchval(f"SHOW {name}") for name in SETTINGS]


@direct_only
@one_server_only
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_session_of_our_own_is_put_right(
    own: Settings, isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    await sessions_begin(own, synchronous_commit="off", default_transaction_isolation=isolation, bytea_output="escape")
    assert await found(own) == ["on", "read committed", "hex"]
    assert not caplog.records


@direct_only
@one_server_only
async def test_a_session_understands_statements_as_they_are_written(own: Settings) -> None:
    """Old applications are the reason to set it otherwise; the schema could not be made then."""
    await sessions_begin(own, **dict.fromkeys(LANGUAGE, "off"))
    async with await open_pool(own, size=1) as pool:
        await migrate(pool)
        assert {name: await pool.fetchval(f"SHOW {name}") for name in LANGUAGE} == LANGUAGE


@direct_only
@one_server_only
async def test_nobody_is_served_without_triggers(own: Settings, database_url: str) -> None:
    """They write the proofs of consent. Copying a database into this one is the reason to switch them off."""
    name, plain = "session_replication_role", f"ddr_test_{secrets.token_hex(4)}"
    await sessions_begin(own, **{name: "replica"})
    async with await open_pool(own, size=1) as pool:
        assert await pool.fetchval(f"SHOW {name}") == "origin", "set by who may"
    await execute(database_url, f"CREATE ROLE {plain}")
    try:
        await sessions_begin(own, role=plain)
        with pytest.raises(StoreError, match=f"permission denied to set parameter .{name}.$"):
            await open_pool(own, size=1)
    finally:
        await execute(database_url, f"DROP ROLE {plain}")


@direct_only
@one_server_only
async def test_a_session_that_waits_for_requests_is_not_ended(own: Settings) -> None:
    """A connection that the server ends as a request takes it is a request that fails."""
    async with await open_pool(own, size=1) as pool:
        there = [name for name in ENDS if await pool.fetchval("SELECT current_setting($1, true)", name) is not None]
    await sessions_begin(own, **dict.fromkeys(there, "5min"))
    async with await open_pool(own, size=1) as pool:
        assert {name: await pool.fetchval(f"SHOW {name}") for name in there} == dict.fromkeys(there, "0")


@direct_only
@one_server_only
async def test_a_commit_that_waits_for_more_than_the_disk_stays_so(own: Settings) -> None:
    await sessions_begin(own, synchronous_commit="remote_apply")
    assert await found(own) == ["remote_apply", "read committed", "hex"]


@direct_only
@one_server_only
async def test_a_session_that_may_be_somebody_elses_is_told_and_left_alone(
    own: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a pooler in transaction mode."""
    await sessions_begin(own, synchronous_commit="off")
    assert await found(replace(own, database_statement_cache=0)) == ["off", "read committed", "hex"]
    told = [(record.message, record.setting, record.value) for record in caplog.records]  # type: ignore[attr-defined]
    assert told == [("database.setting_unfit", "synchronous_commit", "off")], "once, not for each connection"


async def test_what_is_the_servers_alone_is_told(own: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """By who serves, not by each command. The server is one that does its work: what it says is changed here."""
    with patch.object(fitting, "_ASKED", "SELECT 'on', 'read committed', 'hex', 'on', 'on', 'origin', 'off', 'on'"):
        await found(own)
        async with await open_pool(own, BACKGROUND, size=1):
            pass
    told = [(record.message, record.setting, record.value) for record in caplog.records]  # type: ignore[attr-defined]
    assert told == [("database.setting_unfit", "fsync", "off")]
