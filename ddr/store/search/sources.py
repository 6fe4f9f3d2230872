"""What a DiGA may see, as SQL: the Observations of one patient under the authorised MIVs, and what they anchor.

Every text here is a list of common table expressions over the parameters $1 to $9 of a `View` (ddr.store.search.view).
Instants are milliseconds UTC, both ends of a range inclusive.

However long a patient has been here, a search touches only the rows that are visible. So rows are looked up by their
keys in LATERAL subqueries with a LIMIT: a planner that expects few rows per patient would read and hash them all.

`updated_ms` is meta.lastUpdated as this request sees it: never older than when the resource became visible to it.
"""

from __future__ import annotations

from functools import cache

from ddr.store.database.ids import Kind
from ddr.store.measurements.measurements import BRIEF_MS, END, LASTING
from ddr.store.search.chunks import APPEARED, EXPECTED_OF_DEVICES, chunks_of_period
from ddr.store.search.view import TERM, seen_since

# Delay-From-Real-Time of a device `d`: the shortest among the MIVs that it has sensors for.
DELAY = """coalesce((SELECT min(t.delay_ms) FROM sensor x JOIN term t USING (miv_url)
                     WHERE x.patient_id = $1 AND x.device_no = d.device_no), (SELECT min(delay_ms) FROM term))"""

# The measurements that may be seen under a `term`: those that began in the period or briefly before it, those that last
# into it (index measurement_lasting), and those that others are derived from.
_STORED = """m.measurement_no, m.miv_url, m.code_system, m.code, m.device_no, m.epoch_no, m.effective_ms,
             m.effective_end_ms, m.value, m.unit, m.comparator, m.content, m.derived_from, m.status, m.updated_ms,
             m.deleted_ms"""
_VISIBLE = f"""
      SELECT {_STORED} FROM (
        SELECT {_STORED} FROM measurement m WHERE m.patient_id = $1 AND m.miv_url = term.miv_url
           AND m.effective_ms >= term.floor_ms - {BRIEF_MS} OFFSET 0) m
      UNION ALL
      SELECT {_STORED} FROM (
        SELECT {_STORED} FROM measurement m WHERE m.patient_id = $1 AND m.miv_url = term.miv_url
           AND m.effective_ms < term.floor_ms - {BRIEF_MS} AND {LASTING} AND {END} >= term.floor_ms OFFSET 0) m
      UNION ALL
      SELECT {_STORED} FROM (SELECT DISTINCT no FROM sources) o
        CROSS JOIN LATERAL (SELECT * FROM measurement m WHERE m.patient_id = $1 AND m.measurement_no = o.no LIMIT 1) m
       WHERE m.miv_url = term.miv_url AND m.effective_ms < term.floor_ms - {BRIEF_MS} AND {END} < term.floor_ms"""
_NUMBERED = f"""
      SELECT {_STORED} FROM measurement m
       WHERE m.patient_id = $1 AND m.measurement_no = $10 AND m.miv_url = term.miv_url"""


# A measurement from which one within the period is derived (`sources`) stays visible at any age, and so does a period
# that is not over (LF-028).
def _measurements(stored: str) -> str:
    return f"""
sources AS (
  SELECT unnest(m.derived_from) AS no FROM term
    CROSS JOIN LATERAL (SELECT * FROM measurement m
                         WHERE m.patient_id = $1 AND m.miv_url = term.miv_url AND m.effective_ms >= term.floor_ms
                           AND m.derived_from <> '{{}}' AND m.deleted_ms IS NULL OFFSET 0) m
), measurements AS NOT MATERIALIZED (
  SELECT {Kind.MEASUREMENT:d} AS kind, m.measurement_no AS no, 0::bigint AS k, m.miv_url, m.code_system, m.code,
         m.effective_ms AS start_ms, {END} AS end_ms, m.device_no,
         m.epoch_no AS metric_no, m.status,
         {seen_since("m.updated_ms", END)}
           AS updated_ms, m.value, m.unit, m.comparator, m.content, m.derived_from,
         {END} >= term.floor_ms OR m.measurement_no IN (SELECT no FROM sources)
           AS within,
         m.deleted_ms IS NOT NULL AS deleted
    FROM term CROSS JOIN LATERAL ({stored}) m
)"""


# Stands for EXPECTED_OF_DEVICES where there are no chunks.
_NONE_EXPECTED = "SELECT NULL::bigint AS device_no, NULL::bigint AS expected_ms WHERE false"


# `seen`: the Observations that a search may return, and that make their Device and DeviceMetric visible (SCO-006).
# `metrics` and `devices`: these DeviceMetrics and Devices, with their searchable columns.
def _anchored(expected: str) -> str:
    return f"""
seen AS NOT MATERIALIZED (SELECT * FROM observations WHERE within AND NOT deleted),
expected AS MATERIALIZED ({expected}),
metrics AS NOT MATERIALIZED (
  SELECT {Kind.METRIC:d} AS kind, e.epoch_no AS no, 0::bigint AS k, e.device_no,
         greatest(e.updated_ms, {APPEARED}, $9::bigint) AS updated_ms,
         s.metric -> 'type' AS type, s.code_system, s.code
    FROM (SELECT DISTINCT metric_no FROM seen) n
    CROSS JOIN LATERAL (SELECT * FROM epoch e WHERE e.patient_id = $1 AND e.epoch_no = n.metric_no LIMIT 1) e
    CROSS JOIN LATERAL (SELECT * FROM sensor s WHERE s.patient_id = $1 AND s.sensor_no = e.sensor_no LIMIT 1) s
    JOIN term USING (miv_url)
), devices AS NOT MATERIALIZED (
  SELECT {Kind.DEVICE:d} AS kind, d.device_no AS no, 0::bigint AS k,
         greatest(d.updated_ms, expected.expected_ms, $9::bigint) AS updated_ms, d.device_name, d.manufacturer,
         d.type_code,
         CASE WHEN least(d.ended_ms, d.expiration_ms) <= $5::bigint THEN 'inactive'
              WHEN $5::bigint - d.heard_ms > {DELAY} THEN 'unknown'
              ELSE 'active' END AS status
    FROM (SELECT DISTINCT device_no FROM seen) n
    CROSS JOIN LATERAL (SELECT * FROM device d WHERE d.patient_id = $1 AND d.device_no = n.device_no LIMIT 1) d
    LEFT JOIN expected ON expected.device_no = d.device_no
)"""


@cache
def sources_of(observed: frozenset[Kind], numbered: bool) -> str:
    """The common table expressions moment, term, observations, seen, metrics and devices, and those they are made of.

    `observed`: the kinds of Observations that the MIVs of the view have. `numbered`: among single values find only that
    with the number $10, at any age. The result then does not say what else is visible, nor since when Devices are.
    """
    kinds = {}
    if Kind.CHUNK in observed:
        kinds["chunks"] = chunks_of_period()
    if Kind.MEASUREMENT in observed:
        kinds["measurements"] = _measurements(_NUMBERED if numbered else _VISIBLE)
    union = " UNION ALL ".join(f"SELECT * FROM {name}" for name in kinds)
    anchored = _anchored(EXPECTED_OF_DEVICES if Kind.CHUNK in observed else _NONE_EXPECTED)
    return ",".join([TERM, *kinds.values(), f"\nobservations AS NOT MATERIALIZED ({union})", anchored])
