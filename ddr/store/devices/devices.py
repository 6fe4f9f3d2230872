"""Devices, their sensors, and the sensors' calibration epochs, as a gateway registers them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from uuid import UUID

import asyncpg

from ddr.imports.calls import KEY
from ddr.store.database.pool import Connection, Row
from ddr.store.database.stamps import moved

# Columns are named: a column that a later version adds must not change the result of an already prepared statement.
_DEVICE = """patient_id, device_no, device_key, serial_number, device_name, manufacturer, model_number, type_code,
    expiration_date, expiration_ms, definition_url, started_ms, ended_ms, heard_ms, version, created_ms, updated_ms,
    replaces_key, end_follows"""
_EPOCH = """patient_id, epoch_no, sensor_no, device_no, from_ms, until_ms, calibration_state, calibration_type,
    calibration_time, display_unit, tail_k, tail_start_ms, version, updated_ms, created_ms"""

_COUNT_DEVICES = "SELECT count(*) FROM (SELECT FROM device WHERE patient_id = $1 LIMIT $2) AS counted"
_COUNT_SENSORS = """
    SELECT count(*) FROM (SELECT FROM sensor WHERE patient_id = $1 AND device_no = $2 LIMIT $3) AS counted"""

_device_facts = itemgetter(
    "serial_number", "device_name", "manufacturer", "model_number", "type_code", "expiration_date", "expiration_ms",
    "definition_url",
)  # fmt: skip
_calibration = itemgetter("calibration_state", "calibration_type", "calibration_time")

OF_IMPORT = f"i.device_key LIKE '{KEY}%' AND lower(btrim(i.serial_number)) = lower(btrim(d.serial_number))"
"""SQL: device `i` is what an import registered of the device `d` of the same patient."""


# --- devices ---------------------------------------------------------------------------------------------------------


async def devices_of(conn: asyncpg.Connection, patient_id: UUID) -> list[Row]:
    """All devices of a patient, oldest registration first."""
    rows: list[Row] = await conn.fetch(
        f"SELECT {_DEVICE} FROM device WHERE patient_id = $1 ORDER BY device_no",  # noqa: S608
        patient_id,
    )
    return rows


async def count_devices(conn: asyncpg.Connection, patient_id: UUID, most: int) -> int:
    """How many devices the patient has; `most` when there are more."""
    return int(await conn.fetchval(_COUNT_DEVICES, patient_id, most))


async def find_device(conn: asyncpg.Connection, patient_id: UUID, device_key: str) -> Row | None:
    """The device with this key, or None."""
    row: Row | None = await conn.fetchrow(
        f"SELECT {_DEVICE} FROM device WHERE patient_id = $1 AND device_key = $2",  # noqa: S608
        patient_id,
        device_key,
    )
    return row


async def insert_device(conn: asyncpg.Connection, patient_id: UUID, device_key: str, facts: Row, now_ms: int) -> Row:
    """Register a device. `facts` are its columns from serial_number to replaces_key. Returns the row."""
    row: Row = await conn.fetchrow(
        f"""INSERT INTO device (patient_id, device_key, serial_number, device_name, manufacturer, model_number,
               type_code, expiration_date, expiration_ms, definition_url, started_ms, replaces_key, heard_ms,
               created_ms, updated_ms)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $13) RETURNING {_DEVICE}""",  # noqa: S608
        patient_id, device_key, *_device_facts(facts), facts["started_ms"], facts["replaces_key"], now_ms,
    )  # fmt: skip
    return row


async def update_device(conn: asyncpg.Connection, patient_id: UUID, device_no: int, facts: Row, now_ms: int) -> Row:
    """Replace the changeable facts of a device; a Device keeps its version while it is the same device (DEV-012)."""
    row: Row = await conn.fetchrow(
        f"""UPDATE device SET serial_number = $3, device_name = $4, manufacturer = $5, model_number = $6,
               type_code = $7, expiration_date = $8, expiration_ms = $9, definition_url = $10, heard_ms = $11,
               updated_ms = {moved("updated_ms", "$11")}
           WHERE patient_id = $1 AND device_no = $2 RETURNING {_DEVICE}""",  # noqa: S608
        patient_id, device_no, *_device_facts(facts), now_ms,
    )  # fmt: skip
    return row


HEARD = "UPDATE device SET heard_ms = $3 WHERE patient_id = $1 AND device_no = ANY($2::bigint[]) AND heard_ms < $3"


async def note_heard(conn: asyncpg.Connection, patient_id: UUID, device_nos: Sequence[int], now_ms: int) -> None:
    """Note a synchronisation with these devices (Device.status, DEV-014)."""
    await conn.execute(HEARD, patient_id, device_nos, now_ms)


async def end_device(conn: asyncpg.Connection, patient_id: UUID, device_no: int, ended_ms: int, now_ms: int) -> Row:
    """Note the end of a device. Returns the row; the caller ends its sensors.

    The device comes first because uploads of readings, too, lock a device before its sensors.
    """
    row: Row = await conn.fetchrow(
        f"""UPDATE device SET ended_ms = $3, heard_ms = $4, updated_ms = {moved("updated_ms", "$4")}
           WHERE patient_id = $1 AND device_no = $2 RETURNING {_DEVICE}""",  # noqa: S608
        patient_id, device_no, ended_ms, now_ms,
    )  # fmt: skip
    return row


async def let_end_follow(conn: asyncpg.Connection, device: Row) -> None:
    """Note that the end of a device that had none follows from the calibration of its replacement."""
    if device["ended_ms"] is None:
        await conn.execute(
            "UPDATE device SET end_follows = true WHERE patient_id = $1 AND device_no = $2",
            device["patient_id"], device["device_no"],
        )  # fmt: skip


async def note_replaced(conn: asyncpg.Connection, device: Row, replaces_key: str) -> None:
    """Note which device a registered device replaces."""
    await conn.execute(
        "UPDATE device SET replaces_key = $3 WHERE patient_id = $1 AND device_no = $2",
        device["patient_id"], device["device_no"], replaces_key,
    )  # fmt: skip


# --- sensors ---------------------------------------------------------------------------------------------------------

# A sensor with its newest epoch, and how far its readings are stored.
_SENSOR_STATE = """
    SELECT s.patient_id, s.sensor_no, s.device_no, s.sensor_key, s.miv_url, s.code_system, s.code, s.unit, s.continuous,
           s.calibrated_device, s.registration, s.metric, s.method, s.note, s.period_ms, s.decimals, s.lower_limit,
           s.upper_limit, s.span_ms, s.buffering_ms, s.started_ms, s.ended_ms, s.complete_until_ms, s.created_ms,
           s.shown_from_ms, d.device_key, e.epoch_no, e.calibration_state, e.calibration_type, e.calibration_time,
           e.display_unit,
           e.version AS epoch_version,
           (SELECT max(c.last_ms)
              FROM epoch x
              CROSS JOIN LATERAL (SELECT last_ms FROM chunk
                                   WHERE patient_id = $1 AND epoch_no = x.epoch_no AND filled > 0
                                   ORDER BY k DESC LIMIT 1) AS c
             WHERE x.patient_id = $1 AND x.sensor_no = s.sensor_no) AS stored_ms,
           (SELECT max(time_ms) FROM calibration x
             WHERE x.patient_id = $1 AND x.sensor_no = s.sensor_no) AS calibrated_ms
      FROM device d
      JOIN sensor s ON s.patient_id = $1 AND s.device_no = d.device_no
      JOIN LATERAL (SELECT * FROM epoch WHERE patient_id = $1 AND sensor_no = s.sensor_no AND NOT withdrawn
                     ORDER BY from_ms DESC, epoch_no DESC LIMIT 1) e ON true
     WHERE d.patient_id = $1 AND d.device_key = $2"""


async def sensor_states(conn: asyncpg.Connection, patient_id: UUID, device_key: str) -> list[Row]:
    """The sensors of a device as registered, with newest epoch and the times of last reading and last calibration."""
    rows: list[Row] = await conn.fetch(_SENSOR_STATE + " ORDER BY s.sensor_no", patient_id, device_key)
    return rows


async def sensor_state(conn: asyncpg.Connection, patient_id: UUID, device_key: str, sensor_key: str) -> Row | None:
    """One sensor as in `sensor_states`, or None."""
    row: Row | None = await conn.fetchrow(_SENSOR_STATE + " AND s.sensor_key = $3", patient_id, device_key, sensor_key)
    return row


async def count_sensors(conn: asyncpg.Connection, patient_id: UUID, device_no: int, most: int) -> int:
    """How many sensors the device has; `most` when there are more."""
    return int(await conn.fetchval(_COUNT_SENSORS, patient_id, device_no, most))


async def insert_sensor(
    conn: asyncpg.Connection, patient_id: UUID, device_no: int, sensor_key: str, facts: Row, now_ms: int
) -> int:
    """Register a sensor. `facts` are its columns from miv_url to started_ms. Returns its number."""
    number: int = await conn.fetchval(
        """INSERT INTO sensor (patient_id, device_no, sensor_key, miv_url, code_system, code, unit, continuous,
               calibrated_device, registration, metric, method, note, period_ms, decimals, lower_limit, upper_limit,
               span_ms, buffering_ms, started_ms, created_ms)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
           RETURNING sensor_no""",
        patient_id, device_no, sensor_key, facts["miv_url"], facts["code_system"], facts["code"], facts["unit"],
        facts["continuous"], facts["calibrated_device"], facts["registration"], facts["metric"], facts["method"],
        facts["note"], facts["period_ms"], facts["decimals"], facts["lower_limit"], facts["upper_limit"],
        facts["span_ms"], facts["buffering_ms"], facts["started_ms"], now_ms,
    )  # fmt: skip
    return number


async def end_sensor(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, ended_ms: int) -> None:
    """Note the end of a sensor; the caller closes its epochs."""
    await conn.execute(
        "UPDATE sensor SET ended_ms = $3 WHERE patient_id = $1 AND sensor_no = $2", patient_id, sensor_no, ended_ms
    )


# --- epochs ----------------------------------------------------------------------------------------------------------


async def insert_epoch(
    conn: asyncpg.Connection, patient_id: UUID, device_no: int, sensor_no: int, facts: Row, now_ms: int
) -> int:
    """Begin an epoch at `facts["from_ms"]` with end, calibration and display unit of `facts`. Returns its number."""
    number: int = await conn.fetchval(
        """INSERT INTO epoch (patient_id, device_no, sensor_no, from_ms, until_ms, calibration_state, calibration_type,
               calibration_time, display_unit, updated_ms, created_ms)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) RETURNING epoch_no""",
        patient_id, device_no, sensor_no, facts["from_ms"], facts["until_ms"], *_calibration(facts),
        facts["display_unit"], now_ms,
    )  # fmt: skip
    return number


async def epochs_of(conn: Connection, patient_id: UUID, sensor_no: int) -> list[Row]:
    """The epochs of a sensor in order of time."""
    rows: list[Row] = await conn.fetch(
        f"""SELECT {_EPOCH} FROM epoch
             WHERE patient_id = $1 AND sensor_no = $2 AND NOT withdrawn ORDER BY from_ms, epoch_no""",  # noqa: S608
        patient_id,
        sensor_no,
    )
    return rows


async def change_epoch(conn: asyncpg.Connection, before: Row, after: Row, now_ms: int) -> None:
    """Move the bounds of an epoch; another calibration also makes a new version of its DeviceMetric (DEV-029)."""
    patient_id, epoch_no = before["patient_id"], before["epoch_no"]
    if (before["from_ms"], before["until_ms"]) != (after["from_ms"], after["until_ms"]):
        await conn.execute(
            "UPDATE epoch SET from_ms = $3, until_ms = $4 WHERE patient_id = $1 AND epoch_no = $2",
            patient_id, epoch_no, after["from_ms"], after["until_ms"],
        )  # fmt: skip
    if _calibration(before) != _calibration(after):
        await _keep_version(conn, patient_id, epoch_no)
        await conn.execute(
            f"""UPDATE epoch SET calibration_state = $3, calibration_type = $4, calibration_time = $5,
                      version = version + 1, updated_ms = {moved("updated_ms", "$6")}
                WHERE patient_id = $1 AND epoch_no = $2""",  # noqa: S608
            patient_id, epoch_no, *_calibration(after), now_ms,
        )  # fmt: skip


async def withdraw_epoch(conn: asyncpg.Connection, row: Row, now_ms: int) -> None:
    """Leave an epoch empty, because the calibration that began it was taken back or another epoch replaces it: a new
    version of its DeviceMetric, entered in error."""
    await _keep_version(conn, row["patient_id"], row["epoch_no"])
    await conn.execute(
        f"""UPDATE epoch SET withdrawn = true, until_ms = from_ms, version = version + 1,
                   updated_ms = {moved("updated_ms", "$3")}
             WHERE patient_id = $1 AND epoch_no = $2""",  # noqa: S608
        row["patient_id"], row["epoch_no"], now_ms,
    )  # fmt: skip


async def close_epochs(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, until_ms: int) -> None:
    """Close the epochs of a sensor without series at `until_ms`, exclusive. For series: ddr.store.series.end."""
    await conn.execute(
        """UPDATE epoch SET until_ms = $3
            WHERE patient_id = $1 AND sensor_no = $2 AND (until_ms IS NULL OR until_ms > $3)""",
        patient_id, sensor_no, until_ms,
    )  # fmt: skip


async def set_display_unit(conn: asyncpg.Connection, patient_id: UUID, epoch_no: int, unit: str, now_ms: int) -> None:
    """A new version of a DeviceMetric with another unit shown to the patient (DEV-029); the former one is kept."""
    await _keep_version(conn, patient_id, epoch_no)
    await conn.execute(
        f"""UPDATE epoch SET display_unit = $3, version = version + 1, updated_ms = {moved("updated_ms", "$4")}
            WHERE patient_id = $1 AND epoch_no = $2""",  # noqa: S608
        patient_id, epoch_no, unit, now_ms,
    )  # fmt: skip


async def _keep_version(conn: asyncpg.Connection, patient_id: UUID, epoch_no: int) -> None:
    """Keep the current version of the DeviceMetric for vread."""
    await conn.execute(
        """INSERT INTO epoch_version (patient_id, epoch_no, version, calibration_state, calibration_type,
               calibration_time, display_unit, updated_ms)
           SELECT $1, epoch_no, version, calibration_state, calibration_type, calibration_time, display_unit,
                  updated_ms
             FROM epoch WHERE patient_id = $1 AND epoch_no = $2""",
        patient_id, epoch_no,
    )  # fmt: skip


SOURCES = """
    SELECT d.device_key, d.device_no, d.started_ms AS device_started_ms, d.ended_ms AS device_ended_ms,
           s.sensor_key, s.miv_url, s.calibrated_device, e.epoch_no, e.from_ms, e.until_ms
      FROM device d
      LEFT JOIN sensor s ON s.patient_id = $1 AND s.device_no = d.device_no
      LEFT JOIN epoch e ON e.patient_id = $1 AND e.sensor_no = s.sensor_no AND NOT e.withdrawn
     WHERE d.patient_id = $1 AND d.device_key = ANY($2::text[])
     ORDER BY d.device_no, s.sensor_no, e.from_ms"""


async def sources(conn: asyncpg.Connection, patient_id: UUID, device_keys: Sequence[str]) -> list[Row]:
    """What measurements of these devices can refer to: one row per device, sensor and epoch; sensor and epoch columns
    are null where a device has none."""
    rows: list[Row] = await conn.fetch(SOURCES, patient_id, device_keys)
    return rows
