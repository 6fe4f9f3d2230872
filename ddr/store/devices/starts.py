"""Counts of what a patient has registered, and corrections of when it began, in the caller's transaction."""

from __future__ import annotations

from uuid import UUID

import asyncpg

_DEVICES = "SELECT count(*) FROM (SELECT FROM device WHERE patient_id = $1 LIMIT $2) AS counted"
_SENSORS = "SELECT count(*) FROM (SELECT FROM sensor WHERE patient_id = $1 AND device_no = $2 LIMIT $3) AS counted"
_EARLIEST = """
    SELECT min(effective_ms) FROM measurement
     WHERE patient_id = $1 AND device_no = $2 AND deleted_ms IS NULL AND effective_ms < $3"""
_MOVE_DEVICE = "UPDATE device SET started_ms = $3 WHERE patient_id = $1 AND device_no = $2"
_MOVE_SENSOR = "UPDATE sensor SET started_ms = $3 WHERE patient_id = $1 AND sensor_no = $2"


async def count_devices(conn: asyncpg.Connection, patient_id: UUID, most: int) -> int:
    """How many devices the patient has; `most` when there are more."""
    return int(await conn.fetchval(_DEVICES, patient_id, most))


async def count_sensors(conn: asyncpg.Connection, patient_id: UUID, device_no: int, most: int) -> int:
    """How many sensors the device has; `most` when there are more."""
    return int(await conn.fetchval(_SENSORS, patient_id, device_no, most))


async def measured_before(conn: asyncpg.Connection, patient_id: UUID, device_no: int, ms: int) -> bool:
    """True when the device has measured a single value before this instant."""
    return await conn.fetchval(_EARLIEST, patient_id, device_no, ms) is not None


async def move_device(conn: asyncpg.Connection, patient_id: UUID, device_no: int, started_ms: int) -> None:
    """The device began then. No resource shows it, so none has another version."""
    await conn.execute(_MOVE_DEVICE, patient_id, device_no, started_ms)


async def move_sensor(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, started_ms: int) -> None:
    """The sensor began then; the caller moves its first epoch."""
    await conn.execute(_MOVE_SENSOR, patient_id, sensor_no, started_ms)
