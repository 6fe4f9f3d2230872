"""An upload is found by its key and by its time alike, whatever the planner takes a sensor's uploads for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ddr.store.gateways.uploads import UploadDeleted, note_upload, taken_back
from ddr.store.series.deletion import delete_upload
from ddr.store.series.sensors import load
from tests.store.continuous import PERIOD, START, Stored, register

OLD = 2000
FETCHED = """
    SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables WHERE relname = 'upload'"""


@asynccontextmanager
async def after_years(pool: asyncpg.Pool, others: int, gone: int, analyzed: bool) -> AsyncIterator[Stored]:
    """A sensor with OLD uploads, every `gone`th of them deleted, beside patients who have one each. It does not last.

    So the planner, which is not told whose upload it is, takes one row for what patient and sensor have in common.
    """
    stored = await register(pool)
    async with pool.acquire() as conn:
        await (transaction := conn.transaction()).start()
        await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
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
        yield Stored(conn, stored.patient_id, stored.sensor_no, stored.epoch_no)
        await transaction.rollback()


@pytest.mark.parametrize("analyzed", [True, False])
@pytest.mark.parametrize("gone", [OLD + 1, 40, 2])
@pytest.mark.parametrize("others", [300, 1000])
async def test_of_the_uploads_of_years_those_are_read_that_are_asked_for(
    pool: asyncpg.Pool, others: int, gone: int, analyzed: bool
) -> None:
    async with after_years(pool, others, gone, analyzed) as stored:
        conn, patient_id, sensor_no = stored.pool, stored.patient_id, stored.sensor_no
        at_ms = START + OLD * PERIOD
        before = await conn.fetchval(FETCHED)
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
        assert await conn.fetchval(FETCHED) - before < 30
