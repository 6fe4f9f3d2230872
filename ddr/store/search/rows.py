"""From keys to rows: the columns that the builders of resources read, for every kind of resource alike.

A statement names its keys in the common table expression `hit` (ord, matched, kind, no, k) and appends `rows`. Columns
of sensor, epoch and device have their table's names, colliding ones a prefix; `version`, `updated_ms` and `status` are
those of the Observation; `at_ms` is the patient's present.
"""

from __future__ import annotations

from functools import cache

from ddr.store.database.ids import Kind
from ddr.store.search.sources import EXPECTED, NOW

COLUMNS = f"""
       {NOW} AS at_ms, hit.ord, hit.matched, hit.kind, hit.no, hit.k,
       coalesce(m.miv_url, s.miv_url) AS observed_miv, coalesce(m.code_system, s.code_system) AS observed_system,
       coalesce(m.code, s.code) AS observed_code,
       coalesce(c.status, m.status) AS status, coalesce(c.version, m.version) AS version,
       coalesce(c.updated_ms, m.updated_ms) AS updated_ms,
       c.start_ms, c.last_ms, c.filled, c.times, c.vals,
       m.measurement_no, m.content, m.derived_from, m.effective_end_ms,
       e.epoch_no, e.from_ms, e.until_ms, e.withdrawn,
       e.calibration_state, e.calibration_type, e.calibration_time, e.display_unit,
       e.tail_k, e.tail_start_ms, e.version AS epoch_version,
       greatest(e.updated_ms, {EXPECTED}, $9::bigint) AS epoch_updated_ms,
       s.code_system, s.code, s.unit, s.calibrated_device, s.metric, s.method, s.note, s.period_ms, s.decimals,
       s.lower_limit, s.upper_limit, s.span_ms, s.buffering_ms, s.complete_until_ms, s.ended_ms AS sensor_ended_ms,
       greatest(s.created_ms, e.created_ms) AS registered_ms,
       d.device_no, d.serial_number, d.device_name, d.manufacturer, d.model_number, d.type_code, d.expiration_date,
       d.expiration_ms, d.definition_url, d.heard_ms, d.ended_ms AS device_ended_ms,
       greatest(d.updated_ms, expected.expected_ms, $9::bigint) AS device_updated_ms,
       coalesce(delays.delay_ms, (SELECT min(delay_ms) FROM term)) AS device_delay_ms"""

_OBSERVATIONS = {
    Kind.CHUNK: f"hit.kind = {Kind.CHUNK:d} AND c.patient_id = $1 AND c.epoch_no = hit.no AND c.k = hit.k",
    Kind.MEASUREMENT: f"hit.kind = {Kind.MEASUREMENT:d} AND m.patient_id = $1 AND m.measurement_no = hit.no",
}
_DEVICES = f"""
  LEFT JOIN epoch e ON e.patient_id = $1
        AND e.epoch_no = CASE WHEN hit.kind IN ({Kind.CHUNK:d}, {Kind.METRIC:d}) THEN hit.no ELSE m.epoch_no END
  LEFT JOIN sensor s ON s.patient_id = $1 AND s.sensor_no = e.sensor_no
  LEFT JOIN device d ON d.patient_id = $1
        AND d.device_no = coalesce(e.device_no, m.device_no, CASE WHEN hit.kind = {Kind.DEVICE:d} THEN hit.no END)
  LEFT JOIN term ON term.miv_url = s.miv_url
  LEFT JOIN expected ON expected.device_no = d.device_no
  LEFT JOIN delays ON delays.device_no = d.device_no"""


@cache
def rows(observed: frozenset[Kind]) -> str:
    """The joins that bring the columns; of Observations only those of the `observed` kinds."""
    on = {kind: condition if kind in observed else "false" for kind, condition in _OBSERVATIONS.items()}
    return f"""
  LEFT JOIN chunk c ON {on[Kind.CHUNK]}
  LEFT JOIN measurement m ON {on[Kind.MEASUREMENT]}{_DEVICES}"""
