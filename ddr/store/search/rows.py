"""From keys to rows: the columns that the builders of resources read, for every kind of resource alike.

A statement puts its keys into the common table expression `hit` (ord, matched, kind, no, k), appends `lookups` and
selects `COLUMNS` from `ROWS`. Columns of sensor, epoch and device keep the names that they have in their tables;
colliding ones get a prefix. `version`, `updated_ms` and `status` are those of the Observation; `at_ms` is the patient's
present.

Each epoch, sensor and device is looked up once, by its key, for the reason given in ddr.store.search.sources.
"""

from __future__ import annotations

from functools import cache

from ddr.store.database.ids import Kind
from ddr.store.search.chunks import APPEARED
from ddr.store.search.sources import DELAY
from ddr.store.search.view import NOW

COLUMNS = f"""
       {NOW} AS at_ms, o.ord, o.matched, o.kind, o.no, o.k,
       coalesce(o.miv_url, s.miv_url) AS observed_miv, coalesce(o.code_system, s.code_system) AS observed_system,
       coalesce(o.code, s.code) AS observed_code,
       o.status, o.version, o.updated_ms, o.start_ms, o.last_ms, o.filled, o.times, o.vals,
       o.measurement_no, o.content, o.derived_from, o.effective_end_ms,
       e.epoch_no, e.from_ms, e.until_ms, e.withdrawn,
       e.calibration_state, e.calibration_type, e.calibration_time, e.display_unit,
       e.tail_k, e.tail_start_ms, e.version AS epoch_version, e.updated_ms AS epoch_stamp_ms,
       greatest(e.updated_ms, {APPEARED}, $9::bigint) AS epoch_updated_ms,
       s.code_system, s.code, s.unit, s.calibrated_device, s.metric, s.method, s.note, s.period_ms, s.decimals,
       s.lower_limit, s.upper_limit, s.span_ms, s.buffering_ms, s.complete_until_ms, s.ended_ms AS sensor_ended_ms,
       greatest(s.created_ms, e.created_ms) AS registered_ms,
       d.device_no, d.serial_number, d.device_name, d.manufacturer, d.model_number, d.type_code, d.expiration_date,
       d.expiration_ms, d.definition_url, d.heard_ms, d.ended_ms AS device_ended_ms,
       greatest(d.updated_ms, expected.expected_ms, $9::bigint) AS device_updated_ms, d.delay_ms AS device_delay_ms"""

ROWS = """found o
  LEFT JOIN epochs e ON e.epoch_no = o.epoch_no
  LEFT JOIN sensors s ON s.sensor_no = e.sensor_no
  LEFT JOIN term ON term.miv_url = s.miv_url
  LEFT JOIN wearables d ON d.device_no = coalesce(e.device_no, o.device_no)
  LEFT JOIN expected ON expected.device_no = d.device_no"""

# The chunks of a page follow one another within their series, so each series is read once.
_OBSERVATIONS = {
    Kind.CHUNK: f"""
  LEFT JOIN (
    SELECT c.* FROM (SELECT no, min(k) AS first_k, max(k) AS last_k FROM hit WHERE kind = {Kind.CHUNK:d} GROUP BY no) r
     CROSS JOIN LATERAL (SELECT * FROM chunk c WHERE c.patient_id = $1 AND c.epoch_no = r.no
                            AND c.k BETWEEN r.first_k AND r.last_k OFFSET 0) c
  ) c ON hit.kind = {Kind.CHUNK:d} AND c.epoch_no = hit.no AND c.k = hit.k""",
    Kind.MEASUREMENT: f"""
  LEFT JOIN LATERAL (SELECT * FROM measurement m WHERE m.patient_id = $1 AND m.measurement_no = hit.no
                        AND hit.kind = {Kind.MEASUREMENT:d} LIMIT 1) m ON true""",
}
_ABSENT = {
    Kind.CHUNK: "\n  LEFT JOIN LATERAL (SELECT * FROM chunk WHERE patient_id = $1 AND false) c ON true",
    Kind.MEASUREMENT: "\n  LEFT JOIN LATERAL (SELECT * FROM measurement WHERE patient_id = $1 AND false) m ON true",
}

# `found`: the keys of `hit`, with the content of their chunk or measurement, and the numbers of their epoch and device.
# `wearables`: the devices of all of them, each once.
_LOOKUPS = f"""
found AS MATERIALIZED (
  SELECT hit.ord, hit.matched, hit.kind, hit.no, hit.k, m.miv_url, m.code_system, m.code,
         coalesce(c.status, m.status) AS status, coalesce(c.version, m.version) AS version,
         coalesce(c.updated_ms, m.updated_ms) AS updated_ms, c.start_ms, c.last_ms, c.filled, c.times, c.vals,
         m.measurement_no, m.content, m.derived_from, m.effective_end_ms,
         CASE WHEN hit.kind IN ({Kind.CHUNK:d}, {Kind.METRIC:d}) THEN hit.no ELSE m.epoch_no END AS epoch_no,
         CASE WHEN hit.kind = {Kind.DEVICE:d} THEN hit.no ELSE m.device_no END AS device_no
    FROM hit{{observations}}
),{{ways}}, wearables AS MATERIALIZED (
  SELECT d.*, {DELAY} AS delay_ms
    FROM (SELECT DISTINCT coalesce(e.device_no, o.device_no) AS device_no
            FROM found o LEFT JOIN epochs e ON e.epoch_no = o.epoch_no) f
   CROSS JOIN LATERAL (SELECT * FROM device d WHERE d.patient_id = $1 AND d.device_no = f.device_no LIMIT 1) d
)"""

# `epochs` and `sensors`: those of the rows found, each once.
_LOOKED_UP = """
epochs AS MATERIALIZED (
  SELECT e.* FROM (SELECT DISTINCT epoch_no FROM found) f
   CROSS JOIN LATERAL (SELECT * FROM epoch e WHERE e.patient_id = $1 AND e.epoch_no = f.epoch_no LIMIT 1) e
), sensors AS MATERIALIZED (
  SELECT s.* FROM (SELECT DISTINCT sensor_no FROM epochs) e
   CROSS JOIN LATERAL (SELECT * FROM sensor s WHERE s.patient_id = $1 AND s.sensor_no = e.sensor_no LIMIT 1) s
)"""
# When there are only chunks, whatever they refer to has already been looked up to find them.
_AT_HAND = """
epochs AS NOT MATERIALIZED (SELECT * FROM period), sensors AS NOT MATERIALIZED (SELECT * FROM worn)"""


@cache
def lookups(observed: frozenset[Kind]) -> str:
    """The common table expressions that `ROWS` joins, for Observations of the `observed` kinds only."""
    joins = [text if kind in observed else _ABSENT[kind] for kind, text in _OBSERVATIONS.items()]
    ways = _AT_HAND if observed == {Kind.CHUNK} else _LOOKED_UP
    return _LOOKUPS.format(observations="".join(joins), ways=ways)
