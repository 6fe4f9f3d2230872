"""Which statements tests/support/discipline.py accepts for one server, and that its list of exceptions is true."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

import asyncpg
import pytest

from ddr.call import CURRENT, Call
from tests.support import capture
from tests.support.capture import Executed
from tests.support.discipline import undisciplined, unnamed
from tests.support.fan_out import BATCHES, GROUPS

GOOD = (
    "SELECT 1",
    "SELECT k FROM chunk WHERE patient_id = $1 AND epoch_no = $2",
    "SELECT k FROM chunk c WHERE $1::uuid = c.patient_id",
    "SELECT 1 FROM sensor s JOIN epoch e ON e.patient_id = $1 AND e.sensor_no = s.sensor_no WHERE s.patient_id = $1",
    "SELECT (SELECT max(k) FROM chunk WHERE patient_id = $1) FROM registry_entry",
    "WITH chunk AS (SELECT 1 AS k) SELECT k FROM chunk",
    "WITH gone AS MATERIALIZED (DELETE FROM chunk WHERE patient_id = $1 RETURNING k) SELECT k FROM gone",
    "SELECT k FROM chunk WHERE patient_id = $1 UNION ALL SELECT 1",
    "UPDATE device SET heard_ms = $2 WHERE patient_id = $1",
    "INSERT INTO grace (pairing_no, patient_id, answered) VALUES ($2, $1, '{}') ON CONFLICT DO NOTHING",
    "INSERT INTO epoch_version (patient_id, epoch_no) SELECT $1, epoch_no FROM epoch WHERE patient_id = $1",
    "SELECT k FROM chunk -- FROM measurement\n WHERE patient_id = $1 /* FROM device */",
    "SELECT ' FROM measurement ' FROM chunk WHERE patient_id = $1 ORDER BY k FOR NO KEY UPDATE",
    "SELECT k FROM chunk WHERE (patient_id = $1::uuid AND k > $2) AND (k = $3 OR k = $4)",
    "SELECT 1 FROM (sensor s JOIN epoch e ON e.patient_id = $1) WHERE s.patient_id = $1",
    "SELECT 1 FROM chunk c LEFT JOIN device d ON d.patient_id = $1 AND d.device_no = c.k WHERE c.patient_id = $1",
    "SET LOCAL lock_timeout = 0; SELECT k FROM public.chunk WHERE patient_id = $1",
    "INSERT INTO grace (patient_id, pairing_no) VALUES ($1, $2), ($1, $3) ON CONFLICT (patient_id) DO NOTHING",
    "SELECT patient_id FROM pairing_directory WHERE pairing_id = $1",
    "UPDATE authorization_code SET redeemed_ms = $2 WHERE code_sha256 = $1 RETURNING patient_id",
    "INSERT INTO account (username, patient_id) VALUES ($1, $2)",
)
BAD = {
    "SELECT count(*) FROM chunk": ["chunk"],
    "SELECT k FROM chunk WHERE epoch_no = $1": ["chunk"],
    "SELECT k FROM chunk WHERE patient_id = ANY($1::uuid[])": ["chunk"],
    "SELECT 1 FROM sensor s JOIN epoch e USING (patient_id, sensor_no) WHERE s.patient_id = $1": ["epoch"],
    "SELECT 1 FROM sensor s, epoch e WHERE e.patient_id = $1 AND s.patient_id = e.patient_id": ["sensor"],
    "SELECT 1 FROM sensor s LEFT JOIN LATERAL (SELECT * FROM chunk WHERE k = 1) c ON true WHERE patient_id = $1": [
        "chunk"
    ],
    "SELECT 1 FROM chunk WHERE patient_id = $1 UNION SELECT 2 FROM measurement": ["measurement"],
    "SELECT EXISTS (SELECT FROM consent c WHERE c.patient_id = d.patient_id) FROM pairing_directory d": [
        "consent",
        "pairing_directory",
    ],
    "WITH found AS (SELECT patient_id FROM device WHERE device_no = $1) SELECT FROM found WHERE patient_id = $1": [
        "device"
    ],
    "UPDATE chunk c SET k = 1 FROM device d WHERE c.patient_id = d.patient_id AND d.patient_id = $1": ["chunk"],
    "DELETE FROM measurement m USING device d WHERE d.patient_id = $1 AND m.patient_id = d.patient_id": ["measurement"],
    "INSERT INTO grace (patient_id, pairing_no) SELECT patient_id, pairing_no FROM pair": ["grace"],
    "INSERT INTO grace (pairing_no, patient_id) VALUES ($1, DEFAULT)": ["grace"],
    "INSERT INTO grace (patient_id, pairing_no) VALUES ($1, 1), ($2, 1)": ["grace"],
    "SELECT k FROM chunk WHERE patient_id = $1 OR k = $2": ["chunk"],
    "SELECT k FROM chunk WHERE NOT (patient_id = $1)": ["chunk"],
    "SELECT k FROM chunk WHERE patient_id >= $1": ["chunk"],
    "SELECT k FROM chunk WHERE k = $1 AND (patient_id = $2 OR $2 IS NULL)": ["chunk"],
    "SELECT patient_id = $1 FROM chunk": ["chunk"],
    "SELECT count(*) FILTER (WHERE patient_id = $1) FROM chunk": ["chunk"],
    "SELECT k FROM chunk c LEFT JOIN device d ON d.patient_id = $1 AND c.patient_id = $1": ["chunk"],
    "SELECT 1 FROM (sensor s JOIN epoch e USING (patient_id)) WHERE s.patient_id = $1": ["epoch"],
    "SELECT k FROM public.chunk": ["chunk"],
    'SELECT k FROM "chunk"': ["chunk"],
    "SET LOCAL lock_timeout = 0; SELECT k FROM chunk": ["chunk"],
    "TABLE chunk": ["chunk"],
    "COPY chunk FROM STDIN": ["chunk"],
    "DELETE FROM browser_session WHERE patient_id = $1": ["browser_session"],
    "UPDATE gateway_token SET revoked_ms = $2 WHERE app = $1": ["gateway_token"],
    "SELECT 1 FROM account a JOIN patient p USING (patient_id) WHERE a.username = $1": ["patient"],
}


@pytest.mark.parametrize("sql", GOOD)
def test_one_patient(sql: str) -> None:
    assert unnamed(sql) == []


@pytest.mark.parametrize("sql", BAD)
def test_any_patient(sql: str) -> None:
    assert unnamed(sql) == BAD[sql]


EVERYTHING = "SELECT count(*) FROM chunk"
JOB = "ddr.store.search.pages.sweep"


def test_who_is_not_in_the_list_is_told_of() -> None:
    of_nobody = Executed(EVERYTHING, "ddr.store.series.chunks.count", False)
    (told,) = undisciplined([of_nobody, Executed(EVERYTHING, JOB, False)])
    assert told == "ddr.store.series.chunks.count does not say `patient_id = $n` of chunk"


def test_a_clock_in_a_conflict_is_told_of() -> None:
    """Citus refuses it, and only when it is executed: each request with an Idempotency-Key was answered 500."""
    row, change = "(patient_id, k) VALUES ($1, now()) ON CONFLICT DO", "UPDATE SET k = 1 WHERE r.k < clock_timestamp()"
    told = undisciplined(
        [
            Executed(f"WITH a AS (SELECT 1) INSERT INTO chunk AS r {row} {change} RETURNING k", "ddr.a", False),
            Executed(f"INSERT INTO audit AS r {row} {change}", "ddr.b", False),
            Executed(f"INSERT INTO chunk {row} NOTHING RETURNING now()", "ddr.c", False),
            Executed(f"INSERT INTO chunk {row} UPDATE SET k = excluded.k", "ddr.d", False),
        ]
    )
    assert "ddr.a says a clock in ON CONFLICT" in told
    assert not any("clock" in one for one in told[1:])


def test_what_lies_apart_is_not_asked_at_once() -> None:
    """Citus refuses it, and only when it is executed, though each table is named by its own parameter."""
    grant = "token_grant g ON g.patient_id = $2 AND g.grant_no = c.grant_no"
    joined = f"SELECT 1 FROM authorization_code c JOIN {grant} WHERE c.code_sha256 = $1"
    (told,) = undisciplined([Executed(joined, "ddr.a", False)])
    assert told == "ddr.a asks at once what lies apart: authorization_code, patient"
    near = f"SELECT 1 FROM pairing c JOIN {grant} JOIN consent_text USING (digest) WHERE c.patient_id = $2"
    union = "SELECT 1 FROM account WHERE username = $1 UNION SELECT 1 FROM login_identity WHERE subject = $2"
    assert undisciplined([Executed(near, "ddr.b", False), Executed(union, "ddr.b", False)]) == []


def test_a_job_on_a_request_is_told_of() -> None:
    (told,) = undisciplined([Executed(EVERYTHING, JOB, True), Executed(EVERYTHING, next(iter(BATCHES)), True)])
    assert told.startswith(f"{JOB} is a job")


def test_a_job_that_locks_rows_of_several_servers_is_told_of() -> None:
    """Citus refuses it, and only when it is executed: no export for research was written down there."""
    several = "SELECT FROM patient WHERE patient_id = ANY ($1::uuid[])"
    for lock in ("FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR KEY SHARE OF patient"):
        (told,) = undisciplined([Executed(f"{several} ORDER BY patient_id {lock}", JOB, False)])
        assert told == f"{JOB} locks rows of several servers at once: patient"
        held = f"WITH held AS (SELECT FROM sensor {lock}) SELECT FROM chunk"
        assert undisciplined([Executed(held, JOB, False)]) == [f"{JOB} locks rows of several servers at once: sensor"]
    fine = ("SELECT FROM patient WHERE patient_id = $1 FOR UPDATE", several, "SELECT FROM gateway_code FOR SHARE")
    assert undisciplined([Executed(text, JOB, False) for text in fine]) == []


def test_a_job_that_asks_for_rows_without_columns_is_told_of() -> None:
    """As above: whether a week had been given before was asked so."""
    (told,) = undisciplined([Executed("SELECT EXISTS (SELECT FROM pairing WHERE client_id = $1)", JOB, False)])
    assert told == f"{JOB} asks several servers for rows without columns"
    named = "SELECT EXISTS (SELECT FROM pairing WHERE patient_id = $1), EXISTS (SELECT 1 FROM pairing)"
    beside = "SELECT 1 FROM chunk c WHERE EXISTS (SELECT FROM epoch e WHERE e.patient_id = c.patient_id)"
    assert undisciplined([Executed(text, JOB, False) for text in (named, beside)]) == []


async def test_each_way_to_execute_a_statement_is_seen(pool: asyncpg.Pool) -> None:
    """Under the name of what executes it, which is not a test's; here a function that says it is another module's."""
    source = """
async def work(pool):
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT 1 AS a")
        await conn.executemany("SELECT $1::int AS b", [(1,)])
        await conn.fetch("SELECT 1 AS c")
        await conn.fetchrow("SELECT 1 AS d")
        await conn.fetchval("SELECT 1 AS e")
        await conn.fetchmany("SELECT $1::int AS f", [(1,)])
        async for _ in conn.cursor("SELECT 1 AS g"):
            pass
        await conn.execute("CREATE TEMPORARY TABLE heap (h int) ON COMMIT DROP")
        await conn.copy_records_to_table("heap", records=[(1,)])
    await pool.fetchval("SELECT 1 AS i")
"""
    room: dict[str, Any] = {"__name__": "ddr.store.invented"}
    exec(source, room)
    await room["work"](pool)
    on = CURRENT.set(Call())
    await asyncio.gather(pool.fetchval("SELECT 1 AS j"))  # a task of its own
    CURRENT.reset(on)
    seen = capture.taken()
    assert {one.name for one in seen} >= {"ddr.store.invented.work"}
    for letter in "abcdefgi":
        assert any(f" AS {letter}" in one.query and not one.on_request for one in seen), letter
    assert any(one.query == "COPY heap FROM STDIN" for one in seen)
    assert any(one.query == "SELECT 1 AS j" and one.on_request for one in seen)


@pytest.mark.parametrize("group", GROUPS, ids=["jobs", "finds", "figures", "batches", "directories"])
def test_the_list_names_what_there_is(group: Mapping[str, str]) -> None:
    for name, reason in group.items():
        assert callable(resolve_name(name)), name
        assert reason
