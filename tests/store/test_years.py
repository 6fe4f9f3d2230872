"""A write reads only what it concerns, not the rest of a patient's many years."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ddr.store.audit.patients import NEWEST, before
from ddr.store.devices.devices import sensor_state
from ddr.store.measurements.appearance import targets_appear
from ddr.store.patients.erasure import delete_patient
from ddr.store.series.chunks import readings_between
from ddr.store.series.claims import leave_out, note_rivals, stand, withdraw
from ddr.store.series.sensors import load
from tests.store.continuous import START, Stored, register
from tests.support.skew import fetched, in_passing

DAY = 86_400_000
NOW = 1100 * DAY
OLD = 3000  # rows of the patient of many years
OTHERS = 1000  # patients with little
FEW = 200
SEEN = {"m": 995 * DAY}  # from when on values are visible

_MEASURED = """
    INSERT INTO measurement (patient_id, measurement_key, miv_url, code_system, code, device_no, epoch_no, effective_ms,
                             effective_end_ms, content, derived_from, status, updated_ms)
    SELECT coalesce($1, gen_random_uuid()), 'key-' || n, 'm', 's', 'c', coalesce($2, -n), $3, n * $4::bigint,
           n * $4::bigint, '', '{}', 'final', 0 FROM generate_series(1, $5::integer) n"""


def measured(device_no: int, derived_from: list[int]) -> dict[str, Any]:
    return {"miv_url": "m", "device_no": device_no, "epoch_no": None, "derived_from": derived_from}


async def measurements(
    conn: asyncpg.Connection, patient_id: UUID, device_no: int, epoch_no: int, analyzed: int
) -> None:
    """OLD values in 1,000 days, beside patients who have one each."""
    await conn.execute(_MEASURED, None, None, None, 1000, OTHERS)
    if analyzed == 1:
        await conn.execute("ANALYZE measurement, device, epoch")
    await conn.execute(_MEASURED, patient_id, device_no, epoch_no, 1000 * DAY // OLD, OLD)
    if analyzed == 2:
        await conn.execute("ANALYZE measurement, device, epoch")


async def with_a_device(conn: asyncpg.Connection, analyzed: int) -> tuple[UUID, int]:
    """A patient with `measurements` of a device that is there: of one that is not nobody looks whether it is new."""
    stored = await register(conn)
    device_no: int = await conn.fetchval("SELECT device_no FROM device WHERE patient_id = $1", stored.patient_id)
    await measurements(conn, stored.patient_id, device_no, stored.epoch_no, analyzed)
    return stored.patient_id, device_no


@pytest.mark.parametrize("analyzed", [0, 1, 2])
async def test_a_value_is_stored_without_a_look_at_all_of_those_before(own: asyncpg.Pool, analyzed: int) -> None:
    async with in_passing(own) as conn:
        patient_id, device_no = await with_a_device(conn, analyzed)
        numbers = await conn.fetch("SELECT measurement_no FROM measurement WHERE patient_id = $1", patient_id)
        sources = sorted(row[0] for row in numbers)[-3:]
        await conn.execute(
            "UPDATE measurement SET derived_from = $3 WHERE patient_id = $1 AND measurement_no = $2",
            patient_id, sources[-1], sources[:2],
        )  # fmt: skip
        known = await fetched(conn)
        await targets_appear(conn, patient_id, [measured(device_no, sources), measured(-1_000_001, [])], SEEN, NOW)
        assert await fetched(conn) - known < FEW


@pytest.mark.parametrize("analyzed", [0, 1, 2])
async def test_a_value_is_stored_without_a_look_at_all_that_are_visible(own: asyncpg.Pool, analyzed: int) -> None:
    """Of a device that has others, and for which there is no DeviceMetric; half of them are derived from others."""
    async with in_passing(own) as conn:
        patient_id, device_no = await with_a_device(conn, analyzed)
        await conn.execute(
            "UPDATE measurement SET derived_from = ARRAY[0] WHERE patient_id = $1 AND measurement_no % 2 = 0",
            patient_id,
        )
        if analyzed == 2:
            await conn.execute("ANALYZE measurement")
        known = await fetched(conn)
        await targets_appear(conn, patient_id, [measured(device_no, [])], {"m": 0}, NOW)
        assert await fetched(conn) - known < FEW


_CHUNKS = """
    INSERT INTO chunk (patient_id, epoch_no, k, start_ms, last_ms, updated_ms, version, filled, status, times, vals)
    SELECT coalesce($1, gen_random_uuid()), coalesce($2, -n), k, $3::bigint + k * 86400000::bigint,
           $3::bigint + (k + 1) * 86400000::bigint - 300000, 0, 1, 1, 'f', '', ''
      FROM generate_series(1, $4::integer) n, generate_series(0, $5::integer - 1) k"""


async def chunks(conn: asyncpg.Connection, stored: Stored, analyzed: int) -> None:
    """OLD days of one epoch, beside patients who have a few."""
    await conn.execute(_CHUNKS, None, None, START, OTHERS, 3)
    if analyzed == 1:
        await conn.execute("ANALYZE chunk, epoch, sensor")
    await conn.execute(_CHUNKS, stored.patient_id, stored.epoch_no, START, 1, OLD)
    await conn.execute(
        "UPDATE epoch SET tail_k = $3, tail_start_ms = $4 WHERE patient_id = $1 AND epoch_no = $2",
        stored.patient_id, stored.epoch_no, OLD - 1, START + (OLD - 1) * DAY,
    )  # fmt: skip
    if analyzed == 2:
        await conn.execute("ANALYZE chunk, epoch, sensor")


@pytest.mark.parametrize("analyzed", [0, 1, 2])
async def test_what_is_stored_of_the_last_days_is_found_without_the_years_before(
    own: asyncpg.Pool, analyzed: int
) -> None:
    stored = await register(own)
    async with in_passing(own) as conn:
        await chunks(conn, stored, analyzed)
        sensor = await load(conn, stored.patient_id, "device", "sensor")
        assert sensor is not None
        known = await fetched(conn)
        last_ms = START + OLD * DAY
        assert await readings_between(conn, sensor, last_ms - DAY, last_ms) == set()
        found = await sensor_state(conn, stored.patient_id, "device", "sensor")
        assert found is not None and found["stored_ms"] == last_ms - 300_000
        assert await fetched(conn, "chunk") - known < FEW


_CLAIMS = """
    INSERT INTO claim (patient_id, sensor_no, time_ms, raw, claimed_ms)
    SELECT coalesce($1, gen_random_uuid()), coalesce($2, -n), n, 1, 0 FROM generate_series(1, $3::integer) n"""


@pytest.mark.parametrize("analyzed", [0, 1, 2])
async def test_of_the_claims_of_years_those_are_read_that_are_meant(own: asyncpg.Pool, analyzed: int) -> None:
    async with in_passing(own) as conn:
        whose = uuid4(), -1_000_000
        await conn.execute(_CLAIMS, None, None, OTHERS)
        if analyzed == 1:
            await conn.execute("ANALYZE claim")
        await conn.execute(_CLAIMS, *whose, OLD)
        if analyzed == 2:
            await conn.execute("ANALYZE claim")
        known = await fetched(conn)
        await note_rivals(conn, *whose, [(OLD - 1, 2), (OLD, 2), (OLD, 3)], NOW)
        await stand(conn, *whose, [(OLD - 1, 2), (OLD, 2)], NOW, newest=True)
        await leave_out(conn, *whose, {OLD}, {(OLD, 3)})
        change = await withdraw(conn, *whose, {(OLD - 1, 2)}, NOW)
        assert (change.added, change.removed) == ({(OLD - 1, 1)}, {(OLD - 1, 2)})
        assert await fetched(conn) - known < FEW
        assert await conn.fetchval("SELECT count(*) FROM claim WHERE patient_id = $1", whose[0]) == OLD + 2


_TOLD = """
    INSERT INTO audit (patient_id, at_ms, event)
    SELECT coalesce($1, gen_random_uuid()), 0, 'read' FROM generate_series(1, $2::integer)"""


@pytest.mark.parametrize("analyzed", [False, True])
async def test_of_the_trail_of_today_the_patients_own_is_read(own: asyncpg.Pool, analyzed: bool) -> None:
    async with in_passing(own) as conn:
        patient_id = uuid4()
        await conn.execute(_TOLD, None, OLD)
        await conn.execute(_TOLD, patient_id, 3)
        await conn.execute(_TOLD, None, OLD)
        if analyzed:
            await conn.execute("ANALYZE audit")
        known = await fetched(conn)
        assert len(await before(conn, patient_id, NEWEST, 10)) == 3
        assert await fetched(conn) - known < FEW


_OF_OTHERS = (
    """INSERT INTO browser_session (cookie_sha256, patient_id, username, created_ms, seen_ms)
       SELECT sha256(('other-' || n)::bytea), gen_random_uuid(), '', 0, 0 FROM generate_series(1, $1::integer) n""",
    """INSERT INTO account (username, patient_id, password_hash, created_ms)
       SELECT 'other-' || n, gen_random_uuid(), '', 0 FROM generate_series(1, $1::integer) n""",
    """INSERT INTO pairing_directory (pairing_id, patient_id, pairing_no)
       SELECT 'other-' || n, gen_random_uuid(), -n FROM generate_series(1, $1::integer) n""",
)
_OWN = """
    INSERT INTO browser_session (cookie_sha256, patient_id, username, created_ms, seen_ms, login_id)
    SELECT sha256(('own-' || n)::bytea), CASE n WHEN 1 THEN gen_random_uuid() ELSE $1 END, '', 0, 0,
           CASE n WHEN 1 THEN $1 WHEN 2 THEN gen_random_uuid() END FROM generate_series(1, 3) n"""


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_patient_is_deleted_without_a_look_at_all_others(own: asyncpg.Pool, analyzed: bool) -> None:
    stored = await register(own)
    async with in_passing(own) as conn:
        for text in _OF_OTHERS:
            await conn.execute(text, OLD)
        await conn.execute(_OWN, stored.patient_id)
        if analyzed:
            await conn.execute("ANALYZE browser_session, account, pairing_directory")
        of_others = await conn.fetchval("SELECT count(*) FROM browser_session") - 3

        @asynccontextmanager
        async def acquire() -> AsyncIterator[asyncpg.Connection]:
            yield conn

        known = {table: await fetched(conn, table) for table in ("browser_session", "account", "pairing_directory")}
        assert await delete_patient(SimpleNamespace(acquire=acquire, limits=own.limits), stored.patient_id, NOW)
        assert {table for table, count in known.items() if await fetched(conn, table) - count >= FEW} == set()
        assert await conn.fetchval("SELECT count(*) FROM browser_session") == of_others
