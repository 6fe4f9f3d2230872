"""Recorders in several schemas of one database: each has its tables, and none waits for another."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from ddr.settings import Settings, SettingsError
from ddr.settings_checks import check
from ddr.store.database import leases
from ddr.store.database.errors import StoreError
from ddr.store.database.locks import LOCK, TRY_LOCK, Lock
from ddr.store.database.migrate import migrate, migrate_database, migrations
from ddr.store.database.pool import Pool, connect, open_pool
from tests.support.database import fresh_database, itself
from tests.support.pooler import direct_only

pytestmark = direct_only  # behind a pooler: tests/spec/test_pooler.py
TABLES = """
SELECT n.nspname::text, count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') GROUP BY 1"""


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    """A database without anything."""
    async with fresh_database(database_url) as fresh:
        yield fresh


@pytest.fixture
async def two(url: str, settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Pool, Pool]]:
    """Pools of two recorders, `glucose` and `pressure`, migrated."""
    found = [
        replace(settings, database_url=url, database_schema=name, state_dir=tmp_path / name)
        for name in ("glucose", "pressure")
    ]
    for one in found:
        await asyncio.to_thread(migrate_database, one)
    async with await open_pool(found[0]) as glucose, await open_pool(found[1]) as pressure:
        yield glucose, pressure


async def test_each_has_all_tables_and_nothing_lies_elsewhere(two: tuple[Pool, Pool]) -> None:
    tables = dict(await two[0].fetch(TABLES))
    assert tables.keys() == {"glucose", "pressure"}
    assert tables["glucose"] == tables["pressure"] > 40
    for pool in two:
        assert len(await pool.fetch("SELECT name FROM schema_migration")) == len(migrations())
        assert await migrate(pool) == []


async def test_what_one_writes_the_other_does_not_see(two: tuple[Pool, Pool]) -> None:
    glucose, pressure = two
    await glucose.execute("INSERT INTO patient (patient_id, created_ms) VALUES (gen_random_uuid(), 1)")
    assert [await pool.fetchval("SELECT count(*) FROM patient") for pool in two] == [1, 0]
    assert await leases.take(glucose, "house", b"one")
    assert await leases.take(pressure, "house", b"two"), "a turn at one is none at the other"
    for pool in two:  # days of the trail and of the request log are made by functions, as their owner
        await pool.execute("SELECT audit_open('2031-01-01')")
        await pool.execute("SELECT request_log_open('2031-01-01')")
        await pool.execute("SELECT request_log_pack_open('2031-01-01')")
        assert await pool.fetchval("SELECT request_log_pack_close('2031-01-01', 1)") is True
        await pool.execute("SELECT audit_open_month('2031-01-01')")
        found = await pool.fetchval("SELECT to_regclass('audit_20310101')::oid::regclass::text")
        assert found == "audit_20310101", "in the own schema: else it would be named with it"
    tables = dict(await glucose.fetch(TABLES))
    assert tables.keys() == {"glucose", "pressure"} and tables["glucose"] == tables["pressure"]


@pytest.mark.parametrize("lock", list(Lock))
async def test_a_lock_of_one_does_not_stop_the_other(two: tuple[Pool, Pool], lock: Lock) -> None:
    glucose, pressure = two
    async with glucose.acquire() as holder, holder.transaction():
        await holder.execute(LOCK, lock)
        assert await pressure.fetchval(TRY_LOCK, lock) is True
        assert await glucose.fetchval(TRY_LOCK, lock) is False


async def test_functions_of_the_database_take_the_same_locks(two: tuple[Pool, Pool]) -> None:
    glucose, pressure = two
    async with glucose.acquire() as holder, holder.transaction():
        await holder.execute(LOCK, Lock.AUDIT)
        await pressure.execute("SELECT audit_open($1)", date(2032, 1, 1))
        await pressure.execute("SELECT audit_open_month($1)", date(2032, 1, 1))
        for function in ("audit_open", "audit_open_month"):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await glucose.execute(f"SELECT {function}($1)", date(2032, 1, 1))


async def test_in_public_locks_are_those_of_versions_before(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute(LOCK, Lock.SIGNING_KEYS)
        assert await pool.fetchval("SELECT pg_try_advisory_xact_lock($1)", Lock.SIGNING_KEYS) is False
    assert await pool.fetchval("SELECT lock_key($1)", Lock.AUDIT) == Lock.AUDIT


async def test_many_make_the_same_schema_at_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE a (x int)")
    pools = [await connect(url, 1, schema="glucose") for _ in range(4)]
    applied = await asyncio.gather(*(migrate(pool, tmp_path) for pool in pools))
    assert sorted(applied) == [[], [], [], ["0001_a"]]
    for pool in pools:
        await pool.close()


async def test_sessions_with_another_schema_are_refused(url: str) -> None:
    """As those of a pooler that was not told: here a connection that sets nothing itself."""
    with pytest.raises(StoreError, match="its sessions use the schema public, not glucose of the setting"):
        await connect(url, 1, cache=0, schema="glucose")


async def test_sessions_may_get_the_schema_from_elsewhere(url: str, tmp_path: Path) -> None:
    """From the role or the database, behind a pooler; also before it is made."""
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE a (x int)")
    name = urlsplit(url).path.removeprefix("/")
    admin = await asyncpg.connect(url)
    await admin.execute(f"ALTER DATABASE {name} SET search_path = glucose")
    await admin.close()
    async with await connect(url, 1, cache=0, schema="glucose") as pool:
        assert await migrate(pool, tmp_path) == ["0001_a"]
        assert await pool.ready()
    async with await connect(url, 1, schema="glucose") as pool:
        assert await pool.fetchval("SELECT to_regclass('glucose.a') IS NOT NULL")


async def test_a_role_per_recorder_needs_no_right_but_its_own_schema(url: str) -> None:
    """As docs/database.md sets it up: what one role owns the other cannot even read."""
    one, other = (f"ddr_test_{secrets.token_hex(4)}" for _ in range(2))
    admin = await asyncpg.connect(itself(url))
    try:
        for role in (one, other):
            await admin.execute(f"CREATE ROLE {role} LOGIN; CREATE SCHEMA {role} AUTHORIZATION {role}")
            async with await connect(as_role(url, role), 1, schema=role) as pool:
                assert len(await migrate(pool)) == len(migrations())
        async with await connect(as_role(url, one), 1, schema=one) as pool:
            assert await pool.fetchval("SELECT count(*) FROM patient") == 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.fetchval(f"SELECT count(*) FROM {other}.patient")
        async with await connect(as_role(url, one), 1, cache=0, schema=one) as pool:  # as behind a pooler
            assert await migrate(pool) == [], "a role that is called as its schema finds it"
        with pytest.raises(StoreError, match="permission denied for database"):
            async with await connect(as_role(url, one), 1, schema="somewhere_else") as pool:
                await migrate(pool)
    finally:
        for role in (one, other):
            await admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
        await admin.close()


def as_role(url: str, role: str) -> str:
    """The same database for another role of a server that trusts its socket."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()


@pytest.mark.parametrize("name", ["pg_own", "information_schema", 'a"b', "Glucose", "1a", "a b", "ä", "a" * 64, "a.b"])
def test_names_that_are_no_schema_of_ours_are_refused(settings: Settings, name: str) -> None:
    with pytest.raises(SettingsError, match="database_schema: must consist of at most 63 lower-case letters"):
        check(replace(settings, database_schema=name))


@pytest.mark.parametrize("name", ["", "glucose", "public", "_2", "select", "a" * 63])
def test_other_names_are_taken(settings: Settings, name: str) -> None:
    assert check(replace(settings, database_schema=name)).database_schema == name
