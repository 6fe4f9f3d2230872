"""The chunks of a patient from which a summary of continuous values is calculated, in one statement."""

from __future__ import annotations

from uuid import UUID

from ddr.store.database.ask_there import fetch_of_patient
from ddr.store.database.pool import Connection, Row
from ddr.store.series.bounds import LAST, first_k

# A reading lies at most half a sampling period before the start of its chunk.
_CHUNKS = f"""
SELECT c.start_ms, c.last_ms, c.times, c.vals, e.calibration_state,
       s.sensor_no, s.started_ms AS sensor_started_ms, s.unit, s.decimals, s.period_ms, s.lower_limit, s.upper_limit,
       d.device_no, d.serial_number, d.device_name, d.manufacturer, d.model_number, d.type_code, d.expiration_date,
       d.expiration_ms, d.definition_url, d.heard_ms, d.ended_ms AS device_ended_ms, d.updated_ms AS device_updated_ms
  FROM (SELECT epoch_no, sensor_no, device_no, from_ms, tail_k, tail_start_ms, calibration_state
          FROM epoch e WHERE e.patient_id = $1 AND {LAST} >= $3 OFFSET 0) e
  CROSS JOIN LATERAL (SELECT * FROM sensor s WHERE s.patient_id = $1 AND s.sensor_no = e.sensor_no LIMIT 1) s
  CROSS JOIN LATERAL (SELECT * FROM device d WHERE d.patient_id = $1 AND d.device_no = e.device_no LIMIT 1) d
  CROSS JOIN LATERAL (
    SELECT start_ms, last_ms, times, vals FROM chunk c
     WHERE c.patient_id = $1 AND c.epoch_no = e.epoch_no AND c.k >= {first_k("e", "$3::bigint")}
       AND c.last_ms >= $3 AND c.start_ms < $4::bigint + s.period_ms AND c.filled > 0 OFFSET 0) c
 WHERE s.miv_url = $2 AND s.continuous AND (s.shown_from_ms IS NULL OR e.from_ms >= s.shown_from_ms)
   AND e.from_ms < $4::bigint + s.period_ms"""


async def continuous_chunks(
    pool: Connection, patient_id: UUID, valueset: str, from_ms: int, until_ms: int
) -> list[Row]:
    """The chunks of this MIV with readings near [from_ms, until_ms), each with its sensor and device, in any order.

    As for DiGA, what a sensor measured before it was calibrated is left out where it is withheld (SER-018).

    The rows are for ddr.series.selection, which decides what of them counts, and for ddr.fhir.device.
    """
    rows: list[Row] = await fetch_of_patient(pool, _CHUNKS, patient_id, valueset, from_ms, until_ms)
    return rows
