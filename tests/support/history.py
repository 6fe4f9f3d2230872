"""Years of sensor data, put into the tables within a second: a database after long use."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ddr.http.core import Core

# Each sensor is a device of its own, worn for ten days, and uncalibrated in the first half day.
_SENSORS = """
WITH worn AS (
  SELECT patient_id, n, $3::bigint - (n + 1) * 10 * 86400000::bigint AS from_ms,
         CASE WHEN n > 0 THEN $3::bigint - n * 10 * 86400000::bigint END AS until_ms
    FROM unnest($1::uuid[]) AS patient_id, generate_series(0, $2::integer / 10 - 1) AS n
), devices AS (
  INSERT INTO device (patient_id, device_key, device_name, manufacturer, started_ms, ended_ms, heard_ms, created_ms,
                      updated_ms)
  SELECT patient_id, 'worn-' || n, 'Sensor', 'Muster AG', from_ms, until_ms, coalesce(until_ms, $3), from_ms, from_ms
    FROM worn ORDER BY n DESC, patient_id
  RETURNING patient_id, device_no, started_ms, ended_ms
), sensors AS (
  INSERT INTO sensor (patient_id, device_no, sensor_key, miv_url, code_system, code, unit, continuous,
                      calibrated_device, metric, period_ms, span_ms, buffering_ms, started_ms, ended_ms, created_ms)
  SELECT patient_id, device_no, 's', $4, $5, $6, 'mg/dL', true, true, '{}', 300000, 86400000, 86400000, started_ms,
         ended_ms, started_ms
    FROM devices
  RETURNING patient_id, sensor_no, device_no, started_ms, ended_ms
), epochs AS (
  INSERT INTO epoch (patient_id, sensor_no, device_no, from_ms, until_ms, calibration_state, tail_k, tail_start_ms,
                     updated_ms, created_ms)
  SELECT patient_id, sensor_no, device_no, started_ms + part * 43200000::bigint,
         CASE part WHEN 0 THEN started_ms + 43200000 ELSE ended_ms END,
         CASE part WHEN 0 THEN 'not-calibrated' ELSE 'calibrated' END, part * 9,
         started_ms + part * (43200000 + 9 * 86400000::bigint), started_ms, started_ms
    FROM sensors, generate_series(0, 1) AS part
  RETURNING patient_id, epoch_no, from_ms, tail_k)
INSERT INTO chunk (patient_id, epoch_no, k, start_ms, last_ms, updated_ms, version, filled, status, times, vals)
SELECT patient_id, epoch_no, k, from_ms + k * 86400000::bigint, from_ms + k * 86400000::bigint + 42900000,
       from_ms + (k + 1) * 86400000::bigint, 24, 144, 'f', '\\x00', decode(repeat('6400', 144), 'hex')
  FROM epochs, generate_series(0, tail_k) AS k"""

_MEASUREMENTS = """
INSERT INTO measurement (patient_id, measurement_key, miv_url, code_system, code, effective_ms, effective_end_ms, value,
                         unit, content, status, updated_ms)
SELECT patient_id, 'm-' || n, $4, $5, $6, at_ms, at_ms + 999, 100, 'mg/dL', $7, 'final', at_ms
  FROM unnest($1::uuid[]) AS patient_id, generate_series(1, $2::integer * 4) AS n,
       LATERAL (SELECT $3::bigint - n * 21600000::bigint AS at_ms) AS t"""


async def wear(core: Core, patients: Sequence[UUID], days: int) -> None:
    """Let `patients` have worn sensors for this many days, up to now, with values every 5 minutes of each half day."""
    await _fill(core, _SENSORS, patients, days, "continuous-glucose-measurement", "99504-3")


async def measure(core: Core, patients: Sequence[UUID], days: int) -> None:
    """Let `patients` have measured their blood glucose four times a day for this many days, up to now."""
    await _fill(core, _MEASUREMENTS, patients, days, "blood-glucose-measurement", "2339-0", b"{}")


async def _fill(
    core: Core, statement: str, patients: Sequence[UUID], days: int, miv: str, code: str, *more: bytes
) -> None:
    found = core.catalog.by_name(miv)
    assert found is not None
    entry = next(each for each in found.codes if each.code == code)
    now_ms = core.clock()
    await core.pool.executemany(
        "INSERT INTO patient (patient_id, created_ms, stamp_ms) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING",
        [(patient_id, now_ms) for patient_id in patients],
    )
    await core.pool.execute(statement, list(patients), days, now_ms, found.valueset, entry.system, entry.code, *more)
