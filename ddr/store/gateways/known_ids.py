"""What a logical id names in terms of the gateway: keys of devices, sensors and measurements."""

from __future__ import annotations

from uuid import UUID

import asyncpg


async def device_key(conn: asyncpg.Connection, patient_id: UUID, device_no: int) -> str | None:
    """The key of a device of this patient, or None."""
    found: str | None = await conn.fetchval(
        "SELECT device_key FROM device WHERE patient_id = $1 AND device_no = $2", patient_id, device_no
    )
    return found


async def sensor_keys(conn: asyncpg.Connection, patient_id: UUID, epoch_no: int) -> tuple[str, str] | None:
    """The keys of the device and the sensor that a DeviceMetric of this patient belongs to, or None."""
    row = await conn.fetchrow(
        """SELECT d.device_key, s.sensor_key FROM epoch e
             JOIN sensor s ON s.patient_id = $1 AND s.sensor_no = e.sensor_no
             JOIN device d ON d.patient_id = $1 AND d.device_no = e.device_no
            WHERE e.patient_id = $1 AND e.epoch_no = $2""",
        patient_id, epoch_no,
    )  # fmt: skip
    return None if row is None else (row["device_key"], row["sensor_key"])


async def measurement_key(conn: asyncpg.Connection, patient_id: UUID, measurement_no: int) -> str | None:
    """The key of a measurement of this patient, or None."""
    found: str | None = await conn.fetchval(
        "SELECT measurement_key FROM measurement WHERE patient_id = $1 AND measurement_no = $2",
        patient_id, measurement_no,
    )  # fmt: skip
    return found


async def measurement_keys_at(
    conn: asyncpg.Connection, patient_id: UUID, code: tuple[str, str], device_key: str | None, effective_ms: int
) -> list[str]:
    """The keys of what this device measured under `code` (system and code) at this time; at most two of them."""
    rows = await conn.fetch(
        """SELECT m.measurement_key FROM measurement m
             LEFT JOIN device d ON d.patient_id = $1 AND d.device_no = m.device_no
            WHERE m.patient_id = $1 AND (m.code_system, m.code, m.effective_ms) = ($2, $3, $4)
              AND d.device_key IS NOT DISTINCT FROM $5 AND m.deleted_ms IS NULL AND m.status <> 'entered-in-error'
            LIMIT 2""",
        patient_id, *code, effective_ms, device_key,
    )  # fmt: skip
    return [row["measurement_key"] for row in rows]
