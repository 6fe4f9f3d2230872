"""Migrations: in order, once, even when many processes start at the same time."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from ddr.operations import audit_trail
from ddr.operations.audit_chain import GENESIS, IN_ORDER, Seal, Tally, link
from ddr.operations.audit_packing import pack_some
from ddr.operations.audit_verifying import verify
from ddr.store.audit import patients
from ddr.store.audit.entries import Entry
from ddr.store.audit.trail import Event, record
from ddr.store.database import migrate as migrate_module
from ddr.store.database.digest import sha256
from ddr.store.database.errors import StoreError
from ddr.store.database.limits import REQUESTS
from ddr.store.database.migrate import MOST_DEADLOCKS, migrate, migrations
from ddr.store.database.pool import connect
from ddr.store.database.stamps import CLOCK
from ddr.store.gateways import tokens
from tests.support.database import fresh_database
from tests.support.pooler import direct_only
from tests.support.reached import on
from tests.support.waiting import waiting

DAY_MS = 86_400_000


@pytest.fixture
async def empty(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with fresh_database(database_url) as url:
        pool = await connect(url, 4)
        yield pool
        await pool.close()


def write(folder: Path, name: str, sql: str) -> None:
    (folder / name).write_text(sql)


async def test_the_real_schema_is_applied_once(empty: asyncpg.Pool) -> None:
    assert await migrate(empty) == [migration.name for migration in migrations()]
    assert await migrate(empty) == []
    assert await empty.fetchval("SELECT count(*) FROM patient") == 0


def test_a_migration_comes_after_those_that_it_takes_up() -> None:
    """One that is numbered before them is undone by them in a new database."""
    named = {one.name: re.findall(r"migration (\d{4})", one.sql) for one in migrations()}
    assert [name for name, numbers in named.items() if any(number >= name[:4] for number in numbers)] == []


async def test_each_statement_of_a_file_is_said_by_itself(empty: asyncpg.Pool, tmp_path: Path) -> None:
    """Of several in one text Citus tells its servers each as that whole text, which they refuse."""
    text = """-- why; and what's not; said
CREATE TABLE said ("a;b" text, c text);  -- and "this
CREATE FUNCTION one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c := 'it''s;'; RETURN NEW; END $$;
CREATE TRIGGER one BEFORE INSERT ON said FOR EACH ROW EXECUTE FUNCTION one();
INSERT INTO said SELECT current_query();
INSERT INTO said SELECT current_query() || ';';
-- the end
"""
    write(tmp_path, "0001_first.sql", text)
    assert await migrate(empty, tmp_path) == ["0001_first"]
    assert await empty.fetch("SELECT * FROM said") == [
        ("\nINSERT INTO said SELECT current_query()", "it's;"),
        ("\nINSERT INTO said SELECT current_query() || ';';", "it's;"),
    ]


async def test_when_a_file_was_applied_is_the_time_of_the_database_not_of_the_host(
    empty: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "0001_first.sql", "CREATE TABLE t (a int)")
    begun: int = await empty.fetchval(f"SELECT {CLOCK}")
    with monkeypatch.context() as host:
        host.setattr(time, "time_ns", lambda: (begun - 1000 * DAY_MS) * 1_000_000)
        await migrate(empty, tmp_path)
    applied, now = await empty.fetchrow(f"SELECT applied_ms, {CLOCK} FROM schema_migration")
    assert begun <= applied <= now


async def test_tokens_of_gateways_that_are_out_stay_good_and_get_an_end(empty: asyncpg.Pool, tmp_path: Path) -> None:
    """The upgrade of 0028: an app need not be connected anew."""
    for one in migrations():
        if one.name < "0028":
            (tmp_path / f"{one.name}.sql").write_text(one.sql)
    await migrate(empty, tmp_path)
    patient_id, now_ms = uuid4(), time.time_ns() // 1_000_000
    await empty.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 1)", patient_id)
    await empty.execute("INSERT INTO gateway_token VALUES ($1, $2, 1)", sha256("token"), patient_id)
    for one in migrations():
        (tmp_path / f"{one.name}.sql").write_text(one.sql)
    await migrate(empty, tmp_path)
    assert await tokens.find(empty, sha256("token"), now_ms + 300 * 86_400_000) == (patient_id, True, None)
    assert await tokens.find(empty, sha256("token"), now_ms + 366 * 86_400_000) == (patient_id, False, None)
    (app,) = await tokens.apps(empty, patient_id, now_ms)
    assert (app["since_ms"], app["used_ms"]) == (1, None)


async def test_what_is_withdrawn_and_when_data_was_read_is_known_after_an_upgrade(
    empty: asyncpg.Pool, tmp_path: Path
) -> None:
    """The upgrades of 0050 and 0051: a withdrawn chunk stays visible, and patients see the last access."""
    for one in migrations():
        if one.name < "0050":
            (tmp_path / f"{one.name}.sql").write_text(one.sql)
    await migrate(empty, tmp_path)
    patient_id = uuid4()
    for epoch_no, starts in ((1, (10, 30, 20)), (2, ())):
        await empty.execute(
            "INSERT INTO epoch (patient_id, epoch_no, sensor_no, device_no, from_ms, updated_ms)"
            " VALUES ($1, $2, 1, 1, 0, 0)",
            patient_id,
            epoch_no,
        )
        for k, start_ms in enumerate([5, *starts]):
            await empty.execute(
                "INSERT INTO chunk (patient_id, epoch_no, k, start_ms, last_ms, updated_ms, version, filled, status,"
                " times, vals) VALUES ($1, $2, $3, $4, 0, 0, 1, 0, $5, '', '')",
                patient_id,
                epoch_no,
                k,
                start_ms,
                "e" if k else "f",
            )
    for number, reads in ((1, [7, 9, 8]), (2, [])):
        await empty.execute("INSERT INTO pairing_directory VALUES ($1, $2, $3)", f"p{number}", patient_id, number)
        for at_ms in reads:
            await empty.execute(
                "INSERT INTO audit (patient_id, at_ms, event, pairing_id) VALUES ($1, $2, 'diga:data:read', $3)",
                patient_id,
                at_ms,
                f"p{number}",
            )
    await empty.execute("INSERT INTO grace VALUES ($1, 1, '{\"https://x\": 9}')", patient_id)
    for one in migrations():
        (tmp_path / f"{one.name}.sql").write_text(one.sql)
    await migrate(empty, tmp_path)
    withdrawn = await empty.fetch("SELECT epoch_no, last_withdrawn_ms FROM epoch ORDER BY epoch_no")
    assert [tuple(row) for row in withdrawn] == [(1, 30), (2, None)]
    read = await empty.fetch("SELECT pairing_no, answered, read_ms FROM grace")
    assert [tuple(row) for row in read] == [(1, {"https://x": 9}, 9)]


async def test_a_trail_from_before_there_were_days_is_packed(empty: asyncpg.Pool, tmp_path: Path) -> None:
    """The upgrade of 0073 to 0076: numbers go on, the seals of the older form hold, patients see what they saw."""
    for one in migrations():
        if one.name < "0073":
            (tmp_path / f"{one.name}.sql").write_text(one.sql)
    await migrate(empty, tmp_path)
    patient_id, now_ms = uuid4(), time.time_ns() // 1_000_000
    days = [now_ms // DAY_MS - age for age in (90, 2, 1)]
    former = GENESIS
    for day in days:
        rows = await empty.fetch(
            "INSERT INTO audit (patient_id, at_ms, event, pairing_id, detail) SELECT $1, $2::bigint + n, 'x', 'p', $3"
            " FROM generate_series(1, 5) AS n"
            " RETURNING audit_no, patient_id, at_ms, event, client_id, pairing_id, detail",
            patient_id,
            day * DAY_MS,
            {"b": 1.0, "a": "ä"},
        )
        tally = Tally(IN_ORDER)
        for row in rows:
            tally.add(Entry(row["audit_no"], str(row["patient_id"]), *tuple(row)[2:]))
        seal = Seal(
            former.seal_no + 1, rows[-1]["audit_no"], 5, rows[-1]["at_ms"], now_ms, tally.digest(), b"", IN_ORDER
        )
        former = replace(seal, chain=link(former, seal))
        await empty.execute(
            "INSERT INTO audit_seal (seal_no, upto_no, entries, last_ms, sealed_ms, digest, chain)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            *list(vars(former).values())[:7],
        )
    await empty.execute("UPDATE audit_seal SET purged_ms = $1 WHERE seal_no = 1", now_ms)
    await empty.execute("DELETE FROM audit WHERE audit_no <= 5")
    for one in migrations():
        (tmp_path / f"{one.name}.sql").write_text(one.sql)
    await migrate(empty, tmp_path)
    await record(empty, Event.DATA_READ, now_ms, patient_id=patient_id)
    await audit_trail.seal(empty, now_ms)
    before = await patients.before(empty, patient_id, patients.NEWEST, 100)
    assert [row["audit_no"] for row in before] == list(range(16, 5, -1))
    seen = await verify(empty, former.head)
    assert (seen.faults, seen.seals, seen.entries, seen.purged_seals) == ((), 4, 11, 1)
    while await empty.fetchval("SELECT to_regclass('audit_former') IS NOT NULL"):
        assert await pack_some(empty, now_ms + DAY_MS // 24) >= 1
    assert await verify(empty, former.head) == seen
    shown = await patients.before(empty, patient_id, patients.NEWEST, 100)
    assert [{**row, "day": 0} for row in shown] == before


async def test_concurrent_starts_apply_each_file_once(empty: asyncpg.Pool, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int); SELECT pg_sleep(0.1)")
    write(tmp_path, "0002_b.sql", "CREATE TABLE b (x int)")
    applied = await asyncio.gather(*(migrate(empty, tmp_path) for _ in range(3)))
    assert sorted(name for names in applied for name in names) == ["0001_a", "0002_b"]


async def test_a_file_that_got_into_a_deadlock_with_who_writes_is_applied_again(
    empty: asyncpg.Pool, tmp_path: Path
) -> None:
    """As the version before, which goes on meanwhile, writes the same tables in another order."""
    write(tmp_path, "0001_tables.sql", "CREATE TABLE a (x int); CREATE TABLE b (x int)")
    await migrate(empty, tmp_path)
    write(tmp_path, "0002_both.sql", "ALTER TABLE a ADD COLUMN y int; ALTER TABLE b ADD COLUMN y int")
    async with empty.acquire() as writer, writer.transaction():
        await writer.execute("INSERT INTO b VALUES (1)")
        migrating = asyncio.create_task(migrate(empty, tmp_path))
        while not await waiting(empty):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # so that the migration has waited for longer and is the one to give way
        await writer.execute("INSERT INTO a VALUES (1)")
    assert await migrating == ["0002_both"]


async def test_a_file_that_gets_into_deadlocks_for_ever_fails_and_says_so(
    empty: asyncpg.Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sql = "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"
    write(tmp_path, "0001_never.sql", f"CREATE TABLE a (x int); {sql}")
    async with asyncio.timeout(60):
        with pytest.raises(StoreError, match="cannot be migrated: deadlock detected"):
            await migrate(empty, tmp_path)
    assert await empty.fetchval("SELECT to_regclass('a') IS NULL")
    told = [vars(one)["times"] for one in caplog.records if one.message == "database.migration_deadlocked"]
    assert told == list(range(1, MOST_DEADLOCKS + 1))


async def test_whoever_reads_a_table_for_long_holds_up_a_file_and_nobody_else(
    empty: asyncpg.Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As `pg_dump` reads all tables until it is done, while the version before goes on."""
    write(tmp_path, "0001_table.sql", "CREATE TABLE a (x int)")
    await migrate(empty, tmp_path)
    write(tmp_path, "0002_column.sql", "CREATE TABLE b (x int); ALTER TABLE a ADD COLUMN y int")
    async with empty.acquire() as dump, dump.transaction():
        await dump.execute("LOCK TABLE a IN ACCESS SHARE MODE")
        migrating = asyncio.create_task(migrate(empty, tmp_path))
        for _ in range(2):
            while not await waiting(empty):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            await empty.execute(f"SET LOCAL lock_timeout = '{REQUESTS.lock}s'; INSERT INTO a VALUES (1)")
    assert await migrating == ["0002_column"]
    assert [one.message for one in caplog.records] == ["database.migration_waits"]


async def test_a_start_that_takes_long_says_what_it_waits_for(
    empty: asyncpg.Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate_module, "LONG_SECONDS", 0.5)
    write(tmp_path, "0001_quick.sql", "CREATE TABLE quick (x int)")
    write(tmp_path, "0002_slow.sql", "SELECT pg_sleep(1)")
    await asyncio.gather(*(migrate(empty, tmp_path) for _ in range(2)))
    told = {(one.message, getattr(one, "migration", None)) for one in caplog.records}
    assert {("database.migration_takes_long", one) for one in ("0002_slow", None)} <= told


async def test_a_failing_file_leaves_no_trace_and_keeps_the_earlier_ones(empty: asyncpg.Pool, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    write(tmp_path, "0002_b.sql", "CREATE TABLE b (x int); SELECT nonsense")
    with pytest.raises(StoreError, match="migration 0002_b failed"):
        await migrate(empty, tmp_path)
    assert await empty.fetchval("SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
    write(tmp_path, "0002_b.sql", "CREATE TABLE b (x int)")
    assert await migrate(empty, tmp_path) == ["0002_b"]


async def test_a_changed_file_is_refused(empty: asyncpg.Pool, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    await migrate(empty, tmp_path)
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (y int)")
    with pytest.raises(StoreError, match="0001_a was changed"):
        await migrate(empty, tmp_path)


async def test_an_older_version_says_what_to_do_at_a_newer_schema(empty: asyncpg.Pool, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    await migrate(empty, tmp_path)
    (tmp_path / "0001_a.sql").rename(tmp_path / "0001_b.sql")
    with pytest.raises(
        StoreError, match=r"newer than this version: it has .*; install .* or run commands on a host that has it"
    ):
        await migrate(empty, tmp_path)


@pytest.mark.parametrize("names", [("1_a.sql",), ("0001_a.sql", "0001_b.sql")])
def test_bad_names_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path, name, "")
    with pytest.raises(StoreError):
        migrations(tmp_path)


@direct_only
async def test_migrating_leaves_the_limits_of_the_session_in_place(empty: asyncpg.Pool) -> None:
    await migrate(empty)
    assert await empty.fetchval("SHOW statement_timeout") == "75s"


@direct_only
async def test_a_read_only_database_is_one_clear_line(empty: asyncpg.Pool) -> None:
    name = await empty.fetchval("SELECT current_database()")
    await empty.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await empty.expire_connections()
    with pytest.raises(StoreError, match=r"cannot be migrated: .*read-only"):
        await migrate(empty)


async def test_who_may_not_make_tables_may_use_them(empty: asyncpg.Pool) -> None:
    async with empty.acquire() as connection, connection.transaction():
        role = f"ddr_test_{secrets.token_hex(4)}"
        await connection.execute(f"CREATE ROLE {role}; REVOKE CREATE ON SCHEMA public FROM PUBLIC; SET ROLE {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await migrate_module._apply(connection, [])
        await connection.execute("RESET ROLE")
        await migrate_module._apply(connection, [])
        await connection.execute(f"GRANT SELECT ON schema_migration TO {role}; SET ROLE {role}")
        assert await migrate_module._apply(connection, []) == []
        await connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_database_in_another_encoding_is_refused(database_url: str) -> None:
    name = f"ddr_test_{secrets.token_hex(4)}"
    server = await asyncpg.connect(database_url)
    try:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        async with await connect(on(database_url, name), 1) as pool:
            with pytest.raises(StoreError, match="encoding LATIN1"):
                await migrate(pool)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()
