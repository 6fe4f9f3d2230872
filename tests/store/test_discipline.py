"""What tests/support/discipline.py takes for a statement of one patient, and that its list of exceptions is true."""

from __future__ import annotations

from functools import reduce
from importlib import import_module

import asyncpg
import pytest

from tests.support.discipline import patient_tables, undisciplined, unnamed
from tests.support.fan_out import BATCHES, FINDS_THE_PATIENT, JOBS

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
    "SELECT EXISTS (SELECT FROM consent c WHERE c.patient_id = d.patient_id) FROM pairing_directory d": ["consent"],
    "WITH found AS (SELECT patient_id FROM device WHERE device_no = $1) SELECT FROM found WHERE patient_id = $1": [
        "device"
    ],
    "UPDATE chunk c SET k = 1 FROM device d WHERE c.patient_id = d.patient_id AND d.patient_id = $1": ["chunk"],
    "DELETE FROM measurement m USING device d WHERE d.patient_id = $1 AND m.patient_id = d.patient_id": ["measurement"],
    "INSERT INTO grace (patient_id, pairing_no) SELECT patient_id, pairing_no FROM pair": ["grace"],
    "INSERT INTO grace (pairing_no, patient_id) VALUES ($1, DEFAULT)": ["grace"],
}


@pytest.mark.parametrize("sql", GOOD)
def test_one_patient(sql: str) -> None:
    assert unnamed(sql) == []


@pytest.mark.parametrize("sql", BAD)
def test_any_patient(sql: str) -> None:
    assert unnamed(sql) == BAD[sql]


def test_who_is_not_in_the_list_is_told_of() -> None:
    everything = "SELECT count(*) FROM chunk"
    (told,) = undisciplined(
        [(everything, "ddr.store.series.chunks.count"), (everything, "ddr.store.search.pages.sweep")]
    )
    assert told.startswith("ddr.store.series.chunks.count ")


async def test_the_tables_are_those_of_the_database(pool: asyncpg.Pool) -> None:
    rows = await pool.fetch(
        """SELECT c.relname FROM pg_index i
             JOIN pg_class c ON c.oid = i.indrelid AND NOT c.relispartition
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
            WHERE i.indisprimary AND a.attname = 'patient_id' AND c.relnamespace = 'public'::regnamespace"""
    )
    assert {row["relname"] for row in rows} <= patient_tables()


@pytest.mark.parametrize("group", [JOBS, FINDS_THE_PATIENT, BATCHES], ids=["jobs", "finds", "batches"])
def test_the_list_names_what_there_is(group: dict[str, tuple[str, ...]]) -> None:
    for module, functions in group.items():
        for function in functions:
            assert callable(reduce(getattr, function.split("."), import_module(module))), function
