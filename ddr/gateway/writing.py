"""What changes of devices, sensors and measurements share: one writer at a time per patient, and how things end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from ddr.fhir.instants import date_time
from ddr.gateway.problem import Problem, conflict, invalid, unauthorized
from ddr.http.core import Core
from ddr.store.audit.acting import check_right
from ddr.store.database.pool import Row
from ddr.store.database.stamps import lock_patient
from ddr.store.devices import devices as store
from ddr.store.devices import starts
from ddr.store.series import end as series_end


@asynccontextmanager
async def writing(core: Core, patient_id: UUID) -> AsyncIterator[tuple[asyncpg.Connection, int]]:
    """A transaction in which nobody else writes for this patient, and its stamp, the time of all changes in it.

    Raises Problem 401 when the account was deleted while its token was still remembered, and PatientBusy; RightOver
    when a page writes for a representative (ddr.gateway.inside).
    """
    async with core.writers.one(patient_id), core.pool.acquire() as conn, conn.transaction():
        stamp_ms = await lock_patient(conn, patient_id, core.steered_ms)
        if stamp_ms is None:
            raise unauthorized(token_given=True)
        await check_right(conn, patient_id, core.clock())
        yield conn, stamp_ms


def check_end(stored: Row, ended_ms: int | None) -> bool:
    """True when `ended_ms` ends a device or sensor that has not ended yet; False when there is nothing to do.

    Raises Problem 409 for an end that differs from the stored one, 422 for one before the start.
    """
    if ended_ms is None or ended_ms == stored["ended_ms"]:
        return False
    if stored["ended_ms"] is not None:
        raise conflict(f"It has already ended at {date_time(stored['ended_ms'])}", "ended")
    if ended_ms < stored["started_ms"]:
        raise invalid("endedAt", "must not be before startedAt")
    return True


async def end_device(core: Core, conn: asyncpg.Connection, row: Row, ended_ms: int, now_ms: int) -> Row:
    """End a device and its sensors; returns the device afterwards.

    Raises Problem 409 when a single value of it, or a reading as in `end_sensors`, is later than that instant.
    """
    patient_id, device_no = row["patient_id"], row["device_no"]
    _check_last(await starts.last_measured(conn, patient_id, device_no, core.catalog.references), ended_ms)
    ended = await store.end_device(conn, patient_id, device_no, ended_ms, now_ms)
    sensors = await store.sensor_states(conn, patient_id, row["device_key"])
    await end_sensors(core, conn, sensors, ended_ms, now_ms)
    return ended


async def end_sensors(core: Core, conn: asyncpg.Connection, sensors: Iterable[Row], ended_ms: int, now_ms: int) -> None:
    """End sensors that have not ended earlier: their epochs close, and the running chunks with them (SER-003, SER-017).

    Raises Problem 409 when one has readings, or single values, after that instant.
    """
    for sensor in sensors:
        if sensor["ended_ms"] is None or sensor["ended_ms"] > ended_ms:
            await _close(core, conn, sensor, ended_ms, now_ms)
            await store.end_sensor(conn, sensor["patient_id"], sensor["sensor_no"], ended_ms)


async def _close(core: Core, conn: asyncpg.Connection, sensor: Row, ended_ms: int, now_ms: int) -> None:
    patient_id, sensor_no = sensor["patient_id"], sensor["sensor_no"]
    if not sensor["continuous"]:
        device_no, references = sensor["device_no"], core.catalog.references
        _check_last(sensor["calibrated_ms"], ended_ms)
        _check_last(await starts.last_measured(conn, patient_id, device_no, references, sensor_no), ended_ms)
        await store.close_epochs(conn, patient_id, sensor_no, ended_ms)
        return
    delay_ms = core.catalog.delay_ms(sensor["miv_url"])
    try:
        await series_end.close_epochs(conn, patient_id, sensor_no, ended_ms, now_ms, delay_ms)
    except series_end.ReadingsAfterEnd:
        raise _after_end() from None


def _check_last(last_ms: int | None, ended_ms: int) -> None:
    """Raise Problem 409 for an end that is not after the last measured value."""
    if last_ms is not None and last_ms >= ended_ms:
        raise _after_end()


def _after_end() -> Problem:
    return conflict("Values or calibrations at or after this instant are already stored", "readings-after-end")


def at(ms: int | None) -> str | None:
    """The date-time of an instant, for answers."""
    return None if ms is None else date_time(ms)
