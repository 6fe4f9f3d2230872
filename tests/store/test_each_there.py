"""Several statements in one round trip to the patient's server: in order, prepared once, all or none.

Several servers are simulated by one (tests/support/engine.py); with Citus itself: make citus-test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from ddr.store.database.each_there import Statement, each_there
from ddr.store.database.functions_there import FUNCTIONS, KEPT
from ddr.store.database.stamps import LOCK_PATIENT
from tests.support.citus import one_server_only
from tests.support.engine import stand_in
from tests.support.pooler import direct_only

pytestmark = [one_server_only, direct_only]
WHO = UUID(int=7)
LOCK = Statement(LOCK_PATIENT, (WHO, 8))
STAMP = Statement("SELECT stamp_ms FROM patient WHERE patient_id = $1", (WHO,))
WRITE = Statement("UPDATE patient SET stamp_ms = $2 WHERE patient_id = $1 RETURNING stamp_ms", (WHO, 9))
TYPES = Statement(
    """SELECT $2::text AS said, $3::numeric AS number, $4::boolean AS yes, $5::bytea AS bytes, $6::bigint[] AS numbers,
              $7::jsonb AS found, $8::integer AS small, p.patient_id FROM patient p WHERE p.patient_id = $1""",
    (WHO, "it's \\ {a} $1", Decimal("1.500"), False, b"\x00'", [1, None], {"a": ["b"]}, 3),
)
PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'ddr\\_%'"
LENGTH = "SELECT sum(length(statement)) FROM pg_prepared_statements WHERE name LIKE 'ddr\\_%'"


@pytest.fixture
async def pool(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    """One connection to a database with one patient that is taken for spread; its part is on this server."""
    async with stand_in(database_url, monkeypatch) as pool:
        await pool.execute(";".join(FUNCTIONS.values()))
        await pool.execute("INSERT INTO patient (patient_id, created_ms, stamp_ms) VALUES ($1, 0, 5)", WHO)
        await pool.execute(
            """INSERT INTO pg_dist_shard VALUES ('patient', 102, '0'); INSERT INTO pg_dist_placement VALUES (102);
               INSERT INTO pg_dist_partition (logicalrelid, colocationid) VALUES ('patient', 1);
               CREATE TABLE patient_102 (LIKE patient INCLUDING ALL); INSERT INTO patient_102 TABLE patient"""
        )
        pool.servers.spread = True
        yield pool


async def asked(pool: asyncpg.Pool, *statements: Statement) -> list[list[dict[str, object]]]:
    async with pool.acquire() as conn, conn.transaction():
        return [[dict(row) for row in rows] for rows in await each_there(conn, WHO, statements)]


async def test_each_sees_what_those_before_it_did_and_on_the_part(pool: asyncpg.Pool) -> None:
    add = Statement("UPDATE patient SET stamp_ms = stamp_ms + $2 WHERE patient_id = $1", (WHO, 2))
    told = Statement(
        """WITH p AS (UPDATE patient SET stamp_ms = $2 WHERE patient_id = $1 RETURNING stamp_ms)
           SELECT ARRAY[stamp_ms::text, NULL] FROM p""",
        (WHO, 77),
        packed=True,
    )
    assert await asked(pool, STAMP, LOCK, add, STAMP, told, STAMP) == [
        [{"stamp_ms": 5}], [{"stamp_ms": 8}], [], [{"stamp_ms": 10}], [{"packed": ["77", None]}], [{"stamp_ms": 77}],
    ]  # fmt: skip
    assert await pool.fetchval("SELECT stamp_ms FROM patient") == 5
    assert {tuple(row) for row in await pool.fetch("SELECT mode, shardid FROM locked")} == {(5, 102)}


async def test_tables_are_found_whatever_a_session_sees(pool: asyncpg.Pool) -> None:
    """The coordinator's sessions on other servers know nothing of a schema of the recorder's own (database_schema)."""
    ask = "SELECT %s FROM /*patient*/patient WHERE patient_id = $1"
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL search_path = ''")
        rows = await conn.fetch(
            "SELECT row_texts FROM public.ddr_each_1($1, 'ddr_w_', '{ddr_e_}', $2, '{uuid}', $3, '{1}')",
            WHO, [ask % "ARRAY[stamp_ms::text]"], [f"{{{WHO}}}"],
        )  # fmt: skip
        assert [row["row_texts"] for row in rows] == [["5"]]
        found = "SELECT stamp_ms FROM public.ddr_ask_2($1, 'ddr_a_', $2, 'uuid', $3) AS t (stamp_ms bigint)"
        assert await conn.fetchval(found, WHO, ask % "stamp_ms", [str(WHO)]) == 5


async def test_rows_are_what_the_statement_itself_finds(pool: asyncpg.Pool) -> None:
    plain = [dict(row) for row in await pool.fetch(TYPES.text, *TYPES.arguments)]
    assert plain[0]["number"] == Decimal("1.500") and plain[0]["numbers"] == [1, None]
    assert await asked(pool, TYPES) == [plain]
    nothing = Statement(TYPES.text, (WHO, *[None] * 7))
    assert await asked(pool, nothing, Statement(TYPES.text, (UUID(int=8), *TYPES.arguments[1:]))) == [
        [{**dict.fromkeys(plain[0]), "patient_id": WHO}], [],
    ]  # fmt: skip


async def test_they_are_prepared_once_and_again_when_one_is_lost(pool: asyncpg.Pool) -> None:
    for _ in range(2):
        await asked(pool, LOCK, STAMP, STAMP)
        assert await pool.fetchval(PREPARED) == 3, "two statements, and that they are"
    for name in await pool.fetch("SELECT name FROM pg_prepared_statements WHERE name LIKE 'ddr\\_%'"):
        await pool.execute(f"DEALLOCATE {name['name']}")
    assert len(await asked(pool, LOCK, STAMP)) == 2
    assert len(await asked(pool, STAMP, LOCK)) == 2
    assert await pool.fetchval(PREPARED) == 4


async def test_what_is_prepared_has_an_end(pool: asyncpg.Pool) -> None:
    for number in range(KEPT // 20_000 + 3):
        text = f"SELECT {number} AS number FROM patient WHERE patient_id = $1 /* {'x' * 20_000} */"
        assert await asked(pool, STAMP, Statement(text, (WHO,))) == [[{"stamp_ms": 5}], [{"number": number}]]
        assert await pool.fetchval(LENGTH) <= KEPT + 100, "and the few characters around them"


async def test_what_fails_is_told_and_nothing_is_done(pool: asyncpg.Pool) -> None:
    for _ in range(2):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await asked(
                pool, LOCK, Statement("SELECT 1 / ($2::bigint) AS n FROM patient WHERE patient_id = $1", (WHO, 0))
            )
        assert await asked(pool, STAMP) == [[{"stamp_ms": 5}]]


async def test_nothing_is_written_to_what_a_move_left_here(pool: asyncpg.Pool) -> None:
    await pool.execute("UPDATE pg_dist_placement SET groupid = 2")
    with pytest.raises(asyncpg.SerializationError, match="part 102 of the patients is not on this server"):
        await asked(pool, LOCK)
    with pytest.raises(asyncpg.SerializationError):
        await each_there(pool, WHO, [WRITE])
    assert await pool.fetchval("SELECT stamp_ms FROM patient_102") == 5


async def test_who_is_moved_meanwhile_is_asked_for_again(pool: asyncpg.Pool) -> None:
    """Servers learn of a move one after another, within a second; in a transaction there is more to be done again."""
    await pool.execute(
        """DROP TABLE pg_dist_placement; CREATE SEQUENCE engine.asked;
           CREATE VIEW engine.pg_dist_placement AS SELECT 102::bigint AS shardid, 1 AS shardstate,
             CASE WHEN nextval('engine.asked') <= 3 THEN 2 ELSE 0 END AS groupid"""
    )
    async with pool.acquire() as conn:
        with pytest.raises(asyncpg.SerializationError):
            await each_there(conn, WHO, [WRITE])
    await pool.execute("SELECT setval('engine.asked', 1, false)")
    assert await each_there(pool, WHO, [WRITE]) == [[{"stamp_ms": 9}]]
    assert await pool.fetchval("SELECT stamp_ms FROM patient_102") == 9
