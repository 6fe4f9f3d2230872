"""The steps of a distribution; a stand-in records the calls to Citus (with Citus itself: make citus-test)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ddr.cli.serve import prepare
from ddr.settings_sources import load_settings
from ddr.store.database import distribute as subject
from ddr.store.database import spreading
from ddr.store.database.distribute import NoEngine, Step, distribute, plan
from ddr.store.database.errors import StoreError
from ddr.store.database.functions_there import FUNCTIONS
from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.migrate import migrate
from ddr.store.database.placing import PATIENT, PLACES, Where
from ddr.store.database.pool import connect
from ddr.store.database.spreading import STAMP, look
from tests.support.citus import one_server_only
from tests.support.database import migrated_database
from tests.support.engine import stand_in

pytestmark = one_server_only


@pytest.fixture
async def pool(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    """A database of its own with two servers, as the stand-in says."""
    async with stand_in(database_url, monkeypatch, size=2) as pool:
        yield pool


async def placed(pool: asyncpg.Pool) -> dict[str, tuple[str | None, str | None, int | None]]:
    """Column, colocation and number of shards of each table, in the order in which they were asked for."""
    rows = await pool.fetch("SELECT logicalrelid::text, partkey, beside, shards FROM pg_dist_partition")
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def triggers(pool: asyncpg.Pool) -> set[str]:
    rows = await pool.fetch("SELECT tgname FROM pg_trigger WHERE tgname = ANY ($1)", list(subject.UNFIT_TRIGGERS))
    return {row["tgname"] for row in rows}


async def test_each_table_is_put_where_it_belongs_and_once(pool: asyncpg.Pool) -> None:
    told: list[Step] = []
    away = [table for table, place in PLACES.items() if place.where is not Where.FIRST]
    assert await distribute(pool, 8, told.append) == len(away)
    found = await placed(pool)
    assert list(found) == [step.table for step in told] and set(found) == set(away)
    for table, (by, beside, shards) in found.items():
        match PLACES[table].where:
            case Where.REFERENCE:
                assert (by, beside, shards) == (None, None, None)
            case Where.PATIENT if table != "patient":
                assert (by, beside, shards) == (PATIENT, "patient", None)
            case _:
                assert (by, beside, shards) == (PLACES[table].by, "none", 8)
    order = [PLACES[table].where for table in found]
    assert order == sorted(order, key=[Where.REFERENCE, Where.PATIENT, Where.KEY].index)
    assert next(table for table in found if PLACES[table].where is Where.PATIENT) == "patient"
    assert await triggers(pool) == set()
    put = {row[0]: (row[1], row[2]) for row in await pool.fetch("SELECT function::text, by, beside FROM put")}
    assert put[STAMP.replace(", ", ",")] == (None, None)
    assert {put[one.replace(", ", ",")] for one in FUNCTIONS} == {("$1", "patient")}
    assert {step.table for step in await plan(pool) if step.done} == PLACES.keys()
    assert await distribute(pool, 8, told.append) == 0 and len(told) == len(away)


async def test_what_is_done_stays_done_when_a_table_fails(pool: asyncpg.Pool) -> None:
    await pool.execute(
        """CREATE FUNCTION engine.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'a disk is full'; END$$;
           CREATE TRIGGER refuse BEFORE INSERT ON engine.pg_dist_partition FOR EACH ROW
             WHEN (NEW.logicalrelid = 'consent'::regclass) EXECUTE FUNCTION engine.refuse()"""
    )
    told: list[Step] = []
    with pytest.raises(StoreError, match=r"^table consent cannot be spread: a disk is full$"):
        await distribute(pool, 8, told.append)
    assert {step.table for step in told} == set(await placed(pool))
    assert await triggers(pool) & {"consent_given", "consent_changed"}, "a table is put whole or not at all"
    await pool.execute("DROP TRIGGER refuse ON engine.pg_dist_partition")
    rest = [step.table for step in await plan(pool) if not step.done]
    assert await distribute(pool, 8) == len(rest) > 0
    assert await triggers(pool) == set()


async def test_it_begins_only_where_it_may(pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO pg_dist_partition VALUES ('audit', 'h', 'patient_id')")
    with pytest.raises(StoreError, match=r"^tables are spread that must not be spread: audit$"):
        await distribute(pool)
    await pool.execute("DELETE FROM pg_dist_partition")
    await pool.execute("CREATE TABLE of_others (); CREATE TABLE patient_7 ()")
    await pool.execute("INSERT INTO pg_dist_shard VALUES ('patient', 7)")
    with pytest.raises(
        StoreError, match=r"^tables that are not the recorder's, or belong to a newer version: of_others$"
    ):
        await plan(pool)
    await pool.execute("DROP TABLE of_others")
    async with await connect(pool.servers.url, 1):
        with pytest.raises(StoreError, match=r"^recorders have 1 open connections: stop the recorders first$"):
            await distribute(pool)
    await pool.execute("UPDATE pg_dist_node SET shouldhaveshards = false")
    with pytest.raises(NoEngine, match="citus_add_node"):
        await distribute(pool)
    assert await placed(pool) == {}
    assert await look(pool) is False


async def test_a_start_after_an_update_says_what_is_left_to_distribute(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It brings the schema up to date by itself; a new table is on the coordinator then, apart from patients."""

    async def yes(_: object) -> bool:
        return True

    monkeypatch.setattr("ddr.store.database.pool.look", yes)
    settings = load_settings({}, database_url=pool.servers.url, state_dir=tmp_path, allow_builtin_accounts=True)
    await distribute(pool, 8)
    await prepare(settings)
    await pool.execute("DELETE FROM pg_dist_partition WHERE logicalrelid IN ('claim'::regclass, 'opening'::regclass)")
    await pool.execute("DROP FUNCTION ddr_ask_2")
    with pytest.raises(StoreError, match=r"not yet where they belong: claim, opening, ddr_ask_2; .* `ddr db distrib"):
        await prepare(settings)


async def test_no_recorder_starts_on_what_is_half_spread(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A distribution that was broken off before the patients has put texts and restores on all servers."""

    def killed(step: Step) -> None:
        raise KeyboardInterrupt(step.table)

    settings = load_settings({}, database_url=pool.servers.url, state_dir=tmp_path, allow_builtin_accounts=True)
    with pytest.raises(KeyboardInterrupt, match="consent_text"):
        await distribute(pool, 8, killed)
    with pytest.raises(StoreError, match=r"not yet where they belong: account, .*, restore_window, .* `ddr db distrib"):
        await prepare(settings)


async def test_a_recorder_that_starts_meanwhile_waits_for_the_end(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked whether patients are spread before they were, and then served them as if they were not."""
    starts: list[asyncio.Task[None]] = []
    monkeypatch.setattr(spreading, "_ENGINE", "SELECT true")

    async def start() -> None:
        async with await connect(pool.servers.url, 1) as own:
            await migrate(own)
            assert {step.table for step in await plan(own) if step.done} == PLACES.keys()

    def told(step: Step) -> None:
        if step.table == "consent_text":
            starts.append(asyncio.create_task(start()))

    await distribute(pool, 8, told)
    await asyncio.gather(*starts)
    assert await triggers(pool) == set(), "it gives back what goes with the distribution"
    async with pool.acquire() as other, other.transaction():
        await other.execute(LOCK, Lock.MIGRATION)
        async with await connect(pool.servers.url, 2) as second:
            with pytest.raises(StoreError, match=r"^another command is migrating the schema or spreading patients"):
                await distribute(second, 8)


async def test_back_on_one_server_the_triggers_are_there_again(database_url: str) -> None:
    """A dump of an installation that was spread has these triggers less; migrating gives them back as they were."""
    async with migrated_database(database_url) as url, await connect(url, 1) as pool:
        before = await pool.fetch(_DEFINED, list(subject.UNFIT_TRIGGERS))
        for name, (table, *_) in subject.UNFIT_TRIGGERS.items():
            await pool.execute(f"DROP TRIGGER {name} ON {table}")
        pool.servers.spread = True
        assert await migrate(pool) == [] and await triggers(pool) == set(), "not while they are spread"
        pool.servers.spread = False
        assert await migrate(pool) == []
        assert await pool.fetch(_DEFINED, list(subject.UNFIT_TRIGGERS)) == before
        assert len(before) == len(subject.UNFIT_TRIGGERS)


@pytest.mark.parametrize("left", ["ENABLE TRIGGER ALL", "DISABLE TRIGGER ALL"])
async def test_what_a_restore_of_data_alone_does_to_triggers_is_mended_and_told(
    database_url: str, caplog: pytest.LogCaptureFixture, left: str
) -> None:
    """`pg_restore --disable-triggers` ends with the one statement for each table, and broken off with the other."""
    async with migrated_database(database_url) as url, await connect(url, 1) as pool:
        before = await pool.fetch(_DEFINED, list(subject.GATHERING))
        for table in {subject.UNFIT_TRIGGERS[name].table for name in subject.GATHERING}:
            await pool.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            await pool.execute(f"ALTER TABLE {table} {left}")
        assert await pool.fetch(_DEFINED, list(subject.GATHERING)) != before
        await pool.execute("INSERT INTO standing (patient_id, pairing_no) VALUES (gen_random_uuid(), 1)")
        assert await migrate(pool) == []
        assert await pool.fetch(_DEFINED, list(subject.GATHERING)) == before
        assert not await pool.fetch("SELECT FROM standing"), "nobody knows what was passed over"
        told = {vars(one)["trigger"] for one in caplog.records if one.message == "database.trigger_enabled"}
        assert told >= {*subject.GATHERING}
        caplog.clear()
        assert await migrate(pool) == [] and not caplog.records


async def test_every_trigger_that_a_restore_left_off_is_on_again(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Else what must not change could be changed from then on, by anybody who may write."""
    async with migrated_database(database_url) as url, await connect(url, 1) as pool:
        before = await pool.fetch(_EVERY)
        for table in {row["kept"] for row in before}:
            await pool.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert await migrate(pool) == []
        assert await pool.fetch(_EVERY) == before
        assert {vars(one)["trigger"] for one in caplog.records} == {row["tgname"] for row in before}


async def test_who_does_not_own_the_tables_starts_with_triggers_as_they_are(database_url: str) -> None:
    """A role that may only use them could not put any on, and was served before."""
    async with migrated_database(database_url) as url, await connect(url, 1) as pool, pool.acquire() as conn:
        turn = conn.transaction()
        await turn.start()
        await conn.execute("ALTER TABLE pairing DISABLE TRIGGER ALL; CREATE ROLE ddr_test_user; SET ROLE ddr_test_user")
        await subject.give_back(conn)
        await turn.rollback()


_EVERY = """
SELECT tgrelid::regclass::text AS kept, tgname, tgenabled FROM pg_trigger
 WHERE NOT tgisinternal ORDER BY kept, tgname"""
_DEFINED = "SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE tgname = ANY ($1) ORDER BY tgname"
