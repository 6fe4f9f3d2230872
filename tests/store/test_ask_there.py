"""A statement sent to the patient's server: the same result, prepared once per session, on the right tables.

Several servers are simulated by one (tests/support/engine.py); with Citus itself: make citus-test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from ddr.store.database import ask_there, spreading
from ddr.store.database.ask_there import fetch_of_patient
from ddr.store.database.functions_there import ASK_FUNCTION, KEPT
from tests.support.citus import one_server_only
from tests.support.engine import stand_in
from tests.support.pooler import direct_only

pytestmark = [one_server_only, direct_only]
WHO = UUID(int=7)
ALL = """SELECT $2::text AS said, $3::text[] AS words, $4::numeric AS number, $5::boolean AS yes, $6::bytea AS bytes,
                $7::bigint[] AS numbers, $8::jsonb AS found, $9::jsonb AS word, p.stamp_ms
           FROM patient
                p
           LEFT JOIN device d ON d.patient_id = $1 WHERE p.patient_id = $1"""
VALUES = (
    "it's \\ {a} $1",
    ["a,b", None, 'c"d', ""],
    Decimal("1E+3"),
    False,
    b"\x00'",
    [1, None],
    [{"a": ["b"]}],
    "it's",
)
PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'ddr\\_%'"
LENGTH = "SELECT sum(length(statement)) FROM pg_prepared_statements WHERE name LIKE 'ddr\\_%'"


@pytest.fixture
async def pool(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    """One connection to a database with one patient that is taken for spread; nothing says where parts are yet."""
    async with stand_in(database_url, monkeypatch) as pool:
        await pool.execute(f"ALTER SCHEMA engine RENAME TO absent; {ASK_FUNCTION}")
        await pool.execute("INSERT INTO patient (patient_id, created_ms, stamp_ms) VALUES ($1, 0, 5)", WHO)
        pool.servers.spread = True
        yield pool


async def test_it_finds_the_same_as_the_statement_itself(pool: asyncpg.Pool) -> None:
    plain = await pool.fetch(ALL, WHO, *VALUES)
    assert [tuple(row) for row in plain] == [(*VALUES, 5)]
    for _ in range(2):
        rows = await fetch_of_patient(pool, ALL, WHO, *VALUES)
        assert [dict(row) for row in rows] == [dict(row) for row in plain]
    nothing = await fetch_of_patient(pool, ALL, WHO, *[None] * len(VALUES))
    assert [tuple(row) for row in nothing] == [(*[None] * len(VALUES), 5)]
    assert await fetch_of_patient(pool, ALL, UUID(int=8), *VALUES) == []


async def test_who_looks_for_a_shape_leaves_the_session_idle(pool: asyncpg.Pool, database_url: str) -> None:
    """Else it would hold locks, and the next statement would be cut off when the time of this one is over."""
    async with pool.acquire() as conn:
        pid = conn.get_server_pid()
        for number in range(3):
            await ask_there.shape_of(conn, f"SELECT stamp_ms + {number} FROM patient WHERE patient_id = $1")
            assert await _seen(database_url, pid) == ("idle", 0)


async def _seen(database_url: str, pid: int) -> tuple[str, int]:
    other = await asyncpg.connect(database_url)
    try:
        state = await other.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)
        locks = await other.fetchval("SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype = 'relation'", pid)
    finally:
        await other.close()
    return state, locks


async def test_it_is_prepared_once_and_again_when_it_is_lost(pool: asyncpg.Pool) -> None:
    for _ in range(2):
        await fetch_of_patient(pool, ALL, WHO, *VALUES)
        assert await pool.fetchval(PREPARED) == 1
    for name in await pool.fetch("SELECT name FROM pg_prepared_statements WHERE name LIKE 'ddr\\_%'"):
        await pool.execute(f"DEALLOCATE {name['name']}")
    assert len(await fetch_of_patient(pool, ALL, WHO, *VALUES)) == 1


async def test_what_is_prepared_has_an_end(pool: asyncpg.Pool) -> None:
    """Shapes of searches come from outside, and each takes memory of a session."""
    counts = []
    for number in range(KEPT // 20_000 + 3):
        text = f"SELECT {number} AS number FROM patient WHERE patient_id = $1 /* {'x' * 20_000} */"
        assert [row["number"] for row in await fetch_of_patient(pool, text, WHO)] == [number]
        assert await pool.fetchval(LENGTH) <= KEPT
        counts.append(await pool.fetchval(PREPARED))
    assert counts == [*range(1, 50), *range(1, 5)]


async def test_a_long_one_is_sent_once(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server takes its time to read one; it goes by its name, unless nothing is found."""
    text = f"SELECT stamp_ms FROM patient WHERE patient_id = $1 /* {'x' * 3_000} */"
    sent: list[int] = []

    async def fetch(query: str, *arguments: object) -> list[asyncpg.Record]:
        sent.append(len(str(arguments[2])))
        rows: list[asyncpg.Record] = await asyncpg.Pool.fetch(pool, query, *arguments)
        return rows

    monkeypatch.setattr(pool, "fetch", fetch)
    for _ in range(2):
        assert [row["stamp_ms"] for row in await fetch_of_patient(pool, text, WHO)] == [5]
    assert [size > 0 for size in sent] == [False, True, False]
    assert await fetch_of_patient(pool, text, UUID(int=8)) == []


async def test_shapes_are_forgotten_when_there_are_many(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_there, "_MOST", 2)
    monkeypatch.setattr(ask_there, "_SHAPES", {})
    for number in range(4):
        text = f"SELECT {number} AS other FROM patient WHERE patient_id = $1"
        assert len(await fetch_of_patient(pool, text, WHO)) == 1
        assert len(ask_there._SHAPES) <= 2


async def test_what_is_long_by_its_values_is_kept_nowhere(pool: asyncpg.Pool) -> None:
    """A client's search may have half a million characters, of which each takes 170 bytes where it is prepared."""
    shapes = dict(ask_there._SHAPES)
    for number in range(3):
        text = f"SELECT {number} AS number FROM patient WHERE patient_id = $1 AND '{'x' * 24_000}' <> ''"
        assert [row["number"] for row in await fetch_of_patient(pool, text, WHO)] == [number]
        assert shapes == ask_there._SHAPES
    assert await pool.fetchval(PREPARED) == 0
    short, long = (f"SELECT clock_timestamp() -- {'x' * length}" for length in (1, 24_000))
    assert spreading.there(short) is spreading.there(short)
    assert spreading.there(long) is not spreading.there(long)


async def test_a_fault_of_the_statement_is_told(pool: asyncpg.Pool) -> None:
    text = "SELECT 1 / (stamp_ms - 5) AS number FROM patient WHERE patient_id = $1"
    for _ in range(2):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await fetch_of_patient(pool, text, WHO)


async def test_it_asks_the_part_that_is_on_this_server_and_follows_it(pool: asyncpg.Pool) -> None:
    text = (
        "SELECT p.stamp_ms, d.device_no FROM patient p LEFT JOIN device d ON d.patient_id = $1 WHERE p.patient_id = $1"
    )

    async def found() -> list[tuple[int, int | None]]:
        return [tuple(row) for row in await fetch_of_patient(pool, text, WHO)]

    assert await found() == [(5, None)]
    await pool.execute(
        """ALTER SCHEMA absent RENAME TO engine;
           CREATE OR REPLACE FUNCTION engine.shard_name(regclass, bigint) RETURNS text LANGUAGE sql AS
             $$SELECT $1 || '_' || $2$$;
           INSERT INTO pg_dist_shard VALUES ('patient', 102, '0'), ('device', 104, '0'), ('patient', 103, '5');
           INSERT INTO pg_dist_partition (logicalrelid, colocationid) VALUES ('patient', 1), ('device', 1)"""
    )
    assert await found() == [(5, None)], "the part is on another server"
    await pool.execute(
        """CREATE TABLE patient_102 AS SELECT patient_id, 102::bigint AS stamp_ms FROM patient;
           CREATE TABLE device_104 AS SELECT patient_id, 104::bigint AS device_no FROM patient"""
    )
    assert await found() == [(102, 104)]
    await pool.execute("UPDATE patient_102 SET stamp_ms = 103")
    assert await found() == [(103, 104)]
    await pool.execute(
        """ALTER TABLE patient_102 RENAME TO gone; CREATE TABLE patient_102 AS SELECT patient_id, 9::bigint AS stamp_ms
             FROM patient; DROP TABLE gone"""
    )
    assert await found() == [(9, 104)], "it went and came back"
    await pool.execute("DROP TABLE patient_102")
    assert await found() == [(5, None)]
