"""Corrections of when devices and sensors began, and what limits them: when single values were measured.

Everything happens in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

# What was entered in error was never measured, and a reference value ($3: their codes) is valid for a period.
_MEASURED = """measurement
     WHERE patient_id = $1 AND device_no = $2 AND code <> ALL($3::text[])
       AND deleted_ms IS NULL AND status <> 'entered-in-error'"""
_EARLIEST = f"SELECT min(effective_ms) FROM {_MEASURED} AND effective_ms < $4"  # noqa: S608
_LATEST = f"""
    SELECT max(effective_ms) FROM {_MEASURED}
       AND ($4::bigint IS NULL OR epoch_no IN (SELECT epoch_no FROM epoch WHERE patient_id = $1 AND sensor_no = $4))"""  # noqa: S608
_MOVE_DEVICE = "UPDATE device SET started_ms = $3 WHERE patient_id = $1 AND device_no = $2"
# A withheld sensor that is shown from its start on is also shown from the new start on.
_MOVE_SENSOR = """
    UPDATE sensor SET started_ms = $3, shown_from_ms = CASE WHEN shown_from_ms <= started_ms
                                                            THEN least(shown_from_ms, $3) ELSE shown_from_ms END
     WHERE patient_id = $1 AND sensor_no = $2"""
_BEGIN_SENSOR = "UPDATE sensor SET started_ms = $3 WHERE patient_id = $1 AND sensor_no = $2"


async def measured_before(
    conn: asyncpg.Connection, patient_id: UUID, device_no: int, references: Sequence[str], ms: int
) -> bool:
    """True when the device has measured a single value before this instant."""
    return await conn.fetchval(_EARLIEST, patient_id, device_no, references, ms) is not None


async def last_measured(
    conn: asyncpg.Connection, patient_id: UUID, device_no: int, references: Sequence[str], sensor_no: int | None = None
) -> int | None:
    """The instant of the newest single value of the device, or of one of its sensors; None if there is none."""
    found: int | None = await conn.fetchval(_LATEST, patient_id, device_no, references, sensor_no)
    return found


async def move_device(conn: asyncpg.Connection, patient_id: UUID, device_no: int, started_ms: int) -> None:
    """Let the device begin then. No resource shows this, so no resource gets a new version."""
    await conn.execute(_MOVE_DEVICE, patient_id, device_no, started_ms)


async def move_sensor(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, started_ms: int) -> None:
    """Let the sensor begin then; the caller moves its first epoch."""
    await conn.execute(_MOVE_SENSOR, patient_id, sensor_no, started_ms)


async def begin_sensor(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, started_ms: int) -> None:
    """Let the sensor begin then; the caller adapts its epochs, and shows those that are to be shown."""
    await conn.execute(_BEGIN_SENSOR, patient_id, sensor_no, started_ms)
