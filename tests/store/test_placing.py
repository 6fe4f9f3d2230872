"""The place of each table in a spread installation (ddr.store.database.placing), compared with the schema."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from ddr.store.database.distribute import UNFIT_TRIGGERS, plan
from ddr.store.database.placing import PATIENT, PLACES, Where, spread
from ddr.store.database.spreading import look
from tests.cli.recorder import ddr, settings_for
from tests.support.citus import one_server_only
from tests.support.discipline import PLACED


async def test_each_table_has_a_place(pool: asyncpg.Pool) -> None:
    """A migration that makes a table says in ddr/store/database/placing.py where it will be."""
    rows = await pool.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
    )
    assert {row["relname"] for row in rows} == PLACES.keys()


async def test_tables_with_a_patient_are_asked_by_patient_or_are_directories(pool: asyncpg.Pool) -> None:
    rows = await pool.fetch(
        """SELECT c.relname, (SELECT a.attname FROM pg_index i JOIN pg_attribute a
                                  ON a.attrelid = c.oid AND a.attnum = i.indkey[i.indnkeyatts - 1]
                               WHERE i.indrelid = c.oid AND i.indisprimary) AS key
             FROM pg_attribute h JOIN pg_class c ON c.oid = h.attrelid
            WHERE h.attname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND c.relnamespace = 'public'::regnamespace""",
        PATIENT,
    )
    assert {row["relname"] for row in rows} == PLACED.keys()
    for row in rows:
        place = PLACES[row["relname"]]
        assert place.by == (row["key"] if place.where is Where.KEY else PATIENT), row["relname"]


async def test_what_is_unique_is_so_on_one_server(pool: asyncpg.Pool) -> None:
    """No index reaches over several servers: each has the column by which its table is spread; so have foreign keys."""
    rows = await pool.fetch(
        """SELECT t.relname AS name, i.relname AS rule, x.indkey::int2[] AS columns, t.oid
             FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
            WHERE x.indisunique AND t.relname = ANY ($1::text[]) AND t.relnamespace = 'public'::regnamespace
           UNION ALL
           SELECT t.relname, c.conname, c.conkey, t.oid FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
            WHERE c.contype = 'f' AND t.relname = ANY ($1::text[]) AND t.relnamespace = 'public'::regnamespace""",
        list(spread()),
    )
    assert {row["name"] for row in rows} == spread().keys()
    for row in rows:
        columns = await pool.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1 AND attnum = ANY ($2::int2[])",
            row["oid"],
            row["columns"],
        )
        assert spread()[row["name"]] in {column["attname"] for column in columns}, row["rule"]


LOOKING = ("SELECT FROM", "INSERT INTO", "PERFORM")


@one_server_only
async def test_triggers_that_go_are_those_that_look_into_other_tables(pool: asyncpg.Pool) -> None:
    """One that stays is copied to every server, and must do with the row that it is given."""
    rows = await pool.fetch(
        """SELECT t.tgname, p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
            JOIN pg_class c ON c.oid = t.tgrelid
           WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($1::text[])""",
        [table for table, place in PLACES.items() if place.where is not Where.FIRST],
    )
    looks = {row["tgname"] for row in rows if any(words in row["prosrc"] for words in LOOKING)}
    assert looks == set(UNFIT_TRIGGERS)
    assert looks < {row["tgname"] for row in rows}


async def test_the_plan_is_told_without_an_engine_and_not_carried_out(
    pool: asyncpg.Pool, database_url: str, tmp_path: Path
) -> None:
    assert not await look(pool)
    assert [step.table for step in await plan(pool) if step.done] == [
        table for table, place in PLACES.items() if place.where is Where.FIRST
    ]
    settings = settings_for(tmp_path, database_url=database_url, embedded=False)
    told = ddr("db", "distribute", "--plan", settings=settings)
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.splitlines()) == len(PLACES), "and no migration"
    for table, place in PLACES.items():
        assert any(line.split()[0] == table and place.why in line for line in told.stdout.splitlines()), table
    refused = ddr("db", "distribute", settings=settings)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "ddr: the database has no Citus: run CREATE EXTENSION citus (docs/scaling.md)"
    ]
