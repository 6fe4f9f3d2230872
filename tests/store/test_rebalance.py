"""Moving patients between servers: obstacles, messages, and that no write waits too long.

A stand-in acts for Citus; with Citus itself: docs/scaling.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from ddr.store.database import rebalance as subject
from ddr.store.database.distribute import distribute, plan
from ddr.store.database.errors import StoreError
from ddr.store.database.placing import PLACES, Where
from ddr.store.database.rebalance import Move, moves, rebalance
from tests.cli.recorder import ddr, settings_for
from tests.support.citus import one_server_only
from tests.support.engine import stand_in

pytestmark = one_server_only
WHO = UUID(int=7)
PART = [
    Move(("patient", "device"), 3_000_000, "db2:5432", "db4:5432"),
    Move(("account",), 8192, "db3:5432", "db4:5432"),
]


@pytest.fixture
async def pool(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    """A spread installation with one patient, and a plan that moves her and a directory to a third server."""
    monkeypatch.setattr(subject, "LOOK_SECONDS", 0.01)
    async with stand_in(database_url, monkeypatch, size=2) as pool:
        await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", WHO)
        await distribute(pool)
        await pool.execute(
            """INSERT INTO pg_dist_node (nodeid, nodename) VALUES (3, 'db4');
               UPDATE pg_dist_partition SET colocationid = 2 WHERE logicalrelid = 'account'::regclass;
               INSERT INTO pg_dist_shard VALUES ('patient', 102, '0'), ('device', 103, '0'), ('account', 300, '0');
               INSERT INTO move SELECT logicalrelid, shardid, size, origin, 5432, 'db4', 5432
                 FROM pg_dist_shard JOIN (VALUES (102, 2000000, 'db2'), (103, 1000000, 'db2'), (300, 8192, 'db3'))
                   AS m (shardid, size, origin) USING (shardid)"""
        )
        yield pool


async def test_parts_that_lie_together_are_one_move(pool: asyncpg.Pool) -> None:
    assert await moves(pool) == PART
    assert await pool.fetchval("SELECT count(*) FROM job") == 0


async def test_what_is_planned_is_moved_and_told(pool: asyncpg.Pool) -> None:
    told: list[str] = []
    done = await rebalance(pool, told.append)
    assert (done.steps, done.failed) == (2, 0)
    assert done.writes > 0 and done.longest_seconds < subject.LONGEST_SECONDS
    assert told[-1] == "2 of 2 steps are done" and len(told) == len(set(told))
    assert await pool.fetchval("SELECT stamp_ms FROM patient WHERE patient_id = $1", WHO) == 0


async def test_what_somebody_began_is_gone_on_with(pool: asyncpg.Pool) -> None:
    await pool.execute("DELETE FROM move; INSERT INTO job VALUES (6, 'running', 0, 5, '[]', 'finished')")
    assert (await rebalance(pool)).steps == 5
    assert await pool.fetchval("SELECT array_agg(job_id) FROM job") == [6]
    assert (await rebalance(pool)).steps == 0, "and then there is nothing to move"


async def test_a_write_that_waits_too_long_takes_the_move_back(
    pool: asyncpg.Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "LONGEST_SECONDS", 0.2)
    await pool.execute("INSERT INTO job VALUES (6, 'running', 0, 1000000, '[]', 'finished')")
    other = await asyncpg.connect(pool.servers.url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM patient WHERE patient_id = $1 FOR UPDATE", WHO)
            with pytest.raises(StoreError, match=r"^a patient's write waited for 0\.2 seconds, so the current move"):
                await rebalance(pool)
    finally:
        await other.close()
    assert await pool.fetchval("SELECT state FROM job") == "cancelled"


async def test_why_the_engine_failed_is_told(pool: asyncpg.Pool) -> None:
    await pool.execute(
        r"""INSERT INTO job VALUES (6, 'running', 0, 2, '[{"message": "ERROR:  a disk\n is full"}]', 'failed')"""
    )
    told: list[str] = []
    with pytest.raises(StoreError, match=r"^job 6 of Citus is failed: ERROR: a disk is full$"):
        await rebalance(pool, told.append)
    assert told[-1] == "2 of 2 steps are done; tried again: ERROR: a disk is full"


async def test_a_server_that_goes_away_meanwhile_is_waited_for(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine says nothing while one does not answer it, and goes on when it is back."""
    await pool.execute(
        """INSERT INTO job VALUES (6, 'running', 0, 3, '[]', 'finished'); CREATE SEQUENCE engine.looked;
           ALTER FUNCTION engine.citus_rebalance_status RENAME TO told;
           CREATE FUNCTION engine.citus_rebalance_status(OUT job_id bigint, OUT state text, OUT details jsonb)
             RETURNS SETOF record LANGUAGE plpgsql AS $$
           BEGIN
             IF nextval('looked') IN (2, 3) THEN
               RAISE 'db4 is not there' USING ERRCODE = 'connection_failure';
             END IF;
             RETURN QUERY SELECT * FROM told();
           END $$"""
    )
    told: list[str] = []
    assert (await rebalance(pool, told.append)).steps == 3
    assert told[0] == "a server does not answer: db4 is not there" and len(told) == 3
    await pool.execute("UPDATE job SET state = 'running', done = 0; ALTER SEQUENCE looked RESTART 1")
    monkeypatch.setattr(subject, "LOOKS", 2)
    with pytest.raises(StoreError, match=r"^Citus does not report its progress, and continues on its own: db4 is not"):
        await rebalance(pool)


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("DELETE FROM pg_dist_partition", "patients are not spread over servers; run ddr db distribute first"),
        (
            "DELETE FROM pg_dist_partition WHERE logicalrelid = 'grace'::regclass",
            "not spread: grace; run ddr db distribute first",
        ),
        (
            "UPDATE pg_dist_node SET isactive = false WHERE nodeid = 3",
            "server db4:5432 is not active: citus_activate_node",
        ),
        (
            "UPDATE pg_dist_node SET reached = false WHERE nodeid = 3",
            "server db2:5432 does not reach db4:5432; server db3:5432 does not reach db4:5432;"
            ' server db4:5432 does not reach db4:5432; server db4:5432 does not answer: "refused"',
        ),
        (
            """UPDATE pg_dist_node SET tells = '{"level": "replica", "slots": 0}' WHERE nodeid = 2""",
            "server db3:5432 has wal_level = replica: set it to logical and restart it;"
            " server db3:5432 has nothing left of max_replication_slots",
        ),
        ("ALTER TABLE grace REPLICA IDENTITY NOTHING", "table grace has neither primary key nor replica identity"),
        (
            "ALTER TABLE grace DROP CONSTRAINT grace_pkey",
            "table grace has neither primary key nor replica identity",
        ),
    ],
)
async def test_what_is_in_the_way_is_one_line(pool: asyncpg.Pool, statement: str, line: str) -> None:
    await pool.execute(statement)
    with pytest.raises(StoreError) as found:
        await rebalance(pool)
    assert str(found.value) == line
    assert await pool.fetchval("SELECT count(*) FROM job") == 0


async def test_a_table_that_is_spread_can_be_moved_while_it_is_written(pool: asyncpg.Pool) -> None:
    """A migration that makes a table gives it a primary key, else the engine could not tell its updates."""
    assert await subject._nameless(pool) == []
    assert {step.table for step in await plan(pool)} == PLACES.keys()
    assert any(place.where is not Where.FIRST for place in PLACES.values())


async def test_without_the_engine_the_command_says_so(pool: asyncpg.Pool, database_url: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, database_url=database_url, embedded=False)
    for arguments in ((), ("--plan",)):
        refused = ddr("db", "rebalance", *arguments, settings=settings)
        assert refused.returncode == 2
        assert refused.stderr.splitlines() == [
            "ddr: the database has no Citus: run CREATE EXTENSION citus (docs/scaling.md)"
        ]
