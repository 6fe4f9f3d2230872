"""An upload is found by its key as well as by its time, whatever the planner estimates of a sensor's uploads."""

from __future__ import annotations

from types import SimpleNamespace

import asyncpg
import pytest

from ddr.series.packing import ERROR, HIGH
from ddr.series.reading import Rules
from ddr.store.series.deletion import delete_upload
from ddr.store.series.sensors import load
from ddr.store.series.uploads import UploadDeleted, keep_within, note_upload, taken_back
from tests.store.continuous import PERIOD, START, Stored, register
from tests.support.skew import fetched, in_passing

OLD = 2000


async def years_of_uploads(conn: asyncpg.Connection, others: int, gone: int, analyzed: bool) -> Stored:
    """A sensor with OLD uploads, every `gone`th of them deleted, beside patients who have one each."""
    stored = await register(conn)
    await conn.execute(
        """INSERT INTO upload (patient_id, sensor_no, upload_key, times, vals, created_ms)
           SELECT gen_random_uuid(), -n, 'key', ARRAY[0::bigint], ARRAY[1], 0
             FROM generate_series(1, $1::integer) n""",
        others,
    )
    await conn.execute(
        """INSERT INTO upload (patient_id, sensor_no, upload_key, times, vals, created_ms, deleted_ms)
           SELECT $1, $2, 'of-old-' || n, ARRAY[$3::bigint + n * 300000], ARRAY[1], 0,
                  CASE WHEN n % $4 = 0 THEN 0 END
             FROM generate_series(1, $5::integer) n""",
        stored.patient_id, stored.sensor_no, START, gone, OLD,
    )  # fmt: skip
    if analyzed:
        await conn.execute("ANALYZE upload")
    return stored


@pytest.mark.parametrize("analyzed", [True, False])
@pytest.mark.parametrize("gone", [OLD + 1, 40, 2])
@pytest.mark.parametrize("others", [300, 1000])
async def test_of_the_uploads_of_years_those_are_read_that_are_asked_for(
    own: asyncpg.Pool, others: int, gone: int, analyzed: bool
) -> None:
    async with in_passing(own) as conn:
        stored = await years_of_uploads(conn, others, gone, analyzed)
        patient_id, sensor_no = stored.patient_id, stored.sensor_no
        at_ms = START + OLD * PERIOD
        before = await fetched(conn, "upload")
        await note_upload(conn, patient_id, sensor_no, "next", [(at_ms + PERIOD, 1)], at_ms)
        await note_upload(conn, patient_id, sensor_no, "next", [(at_ms + 2 * PERIOD, 1)], at_ms)
        deleted = gone <= OLD
        found = await taken_back(conn, patient_id, sensor_no, at_ms - PERIOD, at_ms)
        assert found == ({(at_ms, 1)} if deleted else set())
        assert await load(conn, patient_id, "device", "sensor")
        assert await delete_upload(conn, patient_id, sensor_no, "next", at_ms, 0)
        assert not await delete_upload(conn, patient_id, sensor_no, "unknown", at_ms, 0)
        with pytest.raises(UploadDeleted):
            await note_upload(conn, patient_id, sensor_no, "next", [(at_ms, 1)], at_ms)
        assert await fetched(conn, "upload") - before < 30


async def test_of_the_uploads_of_years_those_come_here_that_new_limits_change(own: asyncpg.Pool) -> None:
    """All of them at once held the event loop for longer than others may wait: 200 ms of 100,000."""
    beyond, given = 450, list[int]()
    async with in_passing(own) as conn:
        stored = await years_of_uploads(conn, 300, OLD + 1, True)
        whose = stored.patient_id, stored.sensor_no
        await conn.execute(
            """INSERT INTO upload (patient_id, sensor_no, upload_key, times, vals, created_ms)
               SELECT $1, $2, 'high-' || n, ARRAY[n, n, n + 1], ARRAY[450, 460, $3::integer], 0
                 FROM generate_series(1, $4::integer) n""",
            *whose, ERROR, beyond,
        )  # fmt: skip

        async def fetch(*asked: object) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await conn.fetch(*asked)
            given.append(len(rows))
            return rows

        told = SimpleNamespace(fetch=fetch, execute=conn.execute, executemany=conn.executemany)
        await keep_within(told, *whose, Rules("mg/dL", 0, None, 400))
        assert sum(given) == beyond and max(given) < beyond
        found = await conn.fetch("SELECT DISTINCT vals FROM upload WHERE patient_id = $1 ORDER BY vals", whose[0])
        assert [row["vals"] for row in found] == [[1], [HIGH, ERROR]]
