"""What a DiGA may see, as SQL: the Observations of one patient under the authorised MIVs, and what they anchor.

Every text here is a list of common table expressions over the parameters $1 to $9 of `View`. Instants are milliseconds
UTC, both ends of a range inclusive. The rules of chunks repeat ddr.series (epoch, grid, status); tests hold them equal.

However long a patient has been here, a search touches the rows of what is visible only. So rows are looked up by their
keys in LATERAL subqueries with a LIMIT: a planner that expects few rows of a patient would read and hash them all.

`updated_ms` is meta.lastUpdated as this request sees it: never older than when the resource became visible to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from ddr.store.database.ids import Kind
from ddr.store.measurements.measurements import BRIEF_MS, END, LASTING
from ddr.store.search.opening import OPEN, Opening
from ddr.store.series.bounds import LAST, SHORTEST_MS, first_k

# The SQL types of what `View.parameters` gives.
PARAMETERS = ("uuid", "text[]", "bigint[]", "bigint[]", "bigint", "bigint[]", "bigint[]", "bigint[]", "bigint")


@dataclass(frozen=True)
class Term:
    """One MIV that a request may see, from `floor_ms` on (now minus its Historic-Data-Period)."""

    valueset: str
    continuous: bool
    floor_ms: int
    delay_ms: int  # Delay-From-Real-Time
    opening: Opening = OPEN


@dataclass(frozen=True)
class View:
    """Whose data a request sees, and which of it; becomes the parameters $1 to $9 of every statement.

    `now_ms` is the clock of the request. What time alone makes of series is as of the patient's own (`moment`).
    """

    patient_id: UUID
    terms: Sequence[Term]
    now_ms: int
    opened_ms: int = 0  # when the pairing was last let see more: all Devices and DeviceMetrics are as new

    def parameters(self) -> list[Any]:
        """The values of $1 to $9 in each of the sources."""
        return [
            self.patient_id,
            [term.valueset for term in self.terms],
            [term.floor_ms for term in self.terms],
            [term.delay_ms for term in self.terms],
            self.now_ms,
            [term.opening.opened_ms for term in self.terms],
            [term.opening.older_ms for term in self.terms],
            [term.opening.older_opened_ms for term in self.terms],
            self.opened_ms,
        ]

    @property
    def observed(self) -> frozenset[Kind]:
        """The kinds of Observations that its MIVs have. Statements leave the other one out: half of the work."""
        kinds = frozenset(Kind.CHUNK if term.continuous else Kind.MEASUREMENT for term in self.terms)
        return kinds or frozenset({Kind.MEASUREMENT})

    def opening(self, valueset: str) -> Opening:
        """When the Observations of this MIV became visible."""
        return next((term.opening for term in self.terms if term.valueset == valueset), OPEN)


# `moment`: the patient's present (ddr.store.database.stamps). `term`: the MIVs of the view, a row for each.
TERM = """
moment AS MATERIALIZED (SELECT coalesce((SELECT stamp_ms FROM patient WHERE patient_id = $1), $5::bigint) AS at_ms),
term AS (SELECT * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
             AS t(miv_url, floor_ms, delay_ms, opened_ms, older_ms, older_opened_ms))"""
NOW = "(SELECT at_ms FROM moment)"

# When a series `e` (epoch) of `s` (sensor) under `term` became visible by the first of the expected chunks of which
# nothing has arrived; null when it is by what is stored, which has its own stamp (ddr.store.devices.appearance).
# `_NEXT` is where the first chunk that is not stored is expected to start, `_FIRST` the same of the first that does not
# end before the historic period.
_NEXT = "coalesce(e.tail_start_ms + s.span_ms, e.from_ms / 1000 * 1000)"
_FIRST = f"({_NEXT} + s.span_ms * greatest(0, (term.floor_ms - {_NEXT}) / s.span_ms))"
EXPECTED = f"""
CASE WHEN s.continuous AND (e.tail_start_ms IS NULL OR greatest(e.tail_start_ms, least(
              e.tail_start_ms + s.span_ms, e.until_ms / 1000 * 1000) - 1000) + 999 < term.floor_ms)
     THEN greatest({_FIRST} + s.period_ms, s.created_ms, e.created_ms) + term.delay_ms END"""
# The same as a stamp: what is not visible by an expected chunk yet is by a stored one (all of whose readings may have
# moved to another series), and no stamp lies in the future.
APPEARED = f"CASE WHEN {EXPECTED} <= {NOW} THEN {EXPECTED} END"
# Delay-From-Real-Time of a device `d`: the shortest of what it has a sensor for.
DELAY = """coalesce((SELECT min(t.delay_ms) FROM sensor x JOIN term t USING (miv_url)
                     WHERE x.patient_id = $1 AND x.device_no = d.device_no), (SELECT min(delay_ms) FROM term))"""
_OPENED = "greatest({updated}, opened_ms, CASE WHEN {end} < older_ms THEN older_opened_ms END)"

# `period`: the epochs to look at, those within the historic period or the one that is read.
# `worn`: their sensors, each once, with what of its device ends a series.
# `series`: each such epoch of a continuous sensor under its term, unless it is withheld (SER-018):
#   `cut_ms` is the whole second in which the epoch ends, `end_ms` that from which on nothing is expected, null: never;
#   `next_k` and `next_ms` are the number of the first chunk that is not stored, and where it is expected to start;
#   `newest_ms`: no chunk of which nothing has arrived starts later;
#   `expected_ms` as EXPECTED says, `first_ms` where that chunk starts.
_SERIES = f"""
period AS MATERIALIZED (
  SELECT e.* FROM epoch e WHERE e.patient_id = $1 AND {{chosen}}
),
worn AS MATERIALIZED (
  SELECT s.*, d.expiration_ms, d.ended_ms AS device_ended_ms
    FROM {{sensors}} p
    CROSS JOIN LATERAL (SELECT * FROM sensor s WHERE s.patient_id = $1 AND s.sensor_no = p.sensor_no LIMIT 1) s
    CROSS JOIN LATERAL (SELECT expiration_ms, ended_ms FROM device d
                         WHERE d.patient_id = $1 AND d.device_no = s.device_no LIMIT 1) d
), series AS MATERIALIZED (
  SELECT s.miv_url, s.code_system, s.code, s.period_ms, s.span_ms, s.buffering_ms, s.expiration_ms,
         greatest(s.created_ms, e.created_ms) AS registered_ms, e.epoch_no, e.device_no, e.tail_k, e.tail_start_ms,
         CASE WHEN s.calibrated_device THEN e.epoch_no END AS metric_no, term.floor_ms, term.delay_ms,
         term.opened_ms, term.older_ms, term.older_opened_ms,
         e.until_ms / 1000 * 1000 AS cut_ms,
         coalesce(e.tail_k + 1, 0) AS next_k, {_NEXT} AS next_ms,
         least({NOW} - s.period_ms - term.delay_ms,
               CASE WHEN greatest(s.created_ms, e.created_ms) + term.delay_ms > {NOW} THEN -1 END,
               least(e.until_ms, s.ended_ms, s.device_ended_ms, s.expiration_ms) / 1000 * 1000 - 1) AS newest_ms,
         {EXPECTED} AS expected_ms, {_FIRST} AS first_ms,
         least(e.until_ms, s.ended_ms, s.device_ended_ms, s.expiration_ms) / 1000 * 1000 AS end_ms
    FROM period e
    JOIN worn s ON s.sensor_no = e.sensor_no AND s.continuous
     AND (s.shown_from_ms IS NULL OR e.from_ms >= s.shown_from_ms)
    JOIN term ON term.miv_url = s.miv_url
)"""

_ENDS_WITHIN = f"{LAST} >= (SELECT min(floor_ms) FROM term) - {SHORTEST_MS}"
_NUMBERED_WITHIN = f"c.k >= {first_k('s', 's', 's.floor_ms')}"

# A chunk whose values a late event moved elsewhere stays as long as it would have with them: who knows it is told.
_GONE = "c.status = 'e' AND c.start_ms + s.span_ms > s.floor_ms"

# One row per chunk: the stored ones, and after them the expected ones of which nothing has arrived (SER-014, SER-024),
# from number `next_k` at `next_ms` on, none starting after `newest_ms`. `within`: it ends within the historic period.
# `x` has both, `y` the last second of each, and `z` when it is final by time (ddr.series.status.settles).
_CHUNKS = f"""
chunks AS NOT MATERIALIZED (
  SELECT {Kind.CHUNK:d} AS kind, s.epoch_no AS no, c.k, s.miv_url, s.code_system, s.code, c.start_ms,
         c.end_ms + 999 AS end_ms, s.device_no, s.metric_no,
         CASE WHEN c.settled OR c.status = 'f' THEN 'final' WHEN c.status = 'p' THEN 'preliminary'
              WHEN c.status = 'e' THEN 'entered-in-error' ELSE 'amended' END AS status,
         {_OPENED.format(updated="c.updated_ms, CASE WHEN c.settled THEN c.settles_ms + 1 END", end="c.end_ms + 999")}
           AS updated_ms,
         NULL::numeric AS value, NULL AS unit, NULL AS comparator, NULL::bytea AS content,
         '{{{{}}}}'::bigint[] AS derived_from, c.end_ms + 999 >= s.floor_ms OR ({_GONE}) AS within, false AS deleted
    FROM series s
    CROSS JOIN LATERAL (
      SELECT x.*, end_ms, settles_ms, x.status = 'p' AND settles_ms < {NOW} AS settled
        FROM (
          SELECT c.k, c.start_ms, c.updated_ms, c.status FROM chunk c
           WHERE c.patient_id = $1 AND c.epoch_no = s.epoch_no AND {{kept}}
          UNION ALL
          SELECT s.next_k + n, s.next_ms + n * s.span_ms,
                 greatest(s.next_ms + n * s.span_ms + s.period_ms, s.registered_ms) + s.delay_ms, 'p'
            FROM generate_series(
              greatest(0, (s.floor_ms - s.next_ms) / s.span_ms),
              floor((s.newest_ms - s.next_ms) / s.span_ms::float8)::bigint
            ) AS n
        ) x
        CROSS JOIN LATERAL (
          SELECT CASE WHEN x.status = 'e' THEN x.start_ms
                      ELSE greatest(x.start_ms, least(x.start_ms + s.span_ms, s.cut_ms) - 1000) END AS end_ms
        ) y
        CROSS JOIN LATERAL (
          SELECT least(end_ms + s.buffering_ms,
                       CASE WHEN s.expiration_ms > x.start_ms AND s.expiration_ms / 1000 * 1000 <= end_ms + 1000
                            THEN s.expiration_ms END
                 ) AS settles_ms
        ) z
    ) c
)"""

# A measurement that one within the period is derived from (`sources`) stays visible at any age, as does a period that
# is not over (LF-028).
_MEASUREMENTS = f"""
sources AS (
  SELECT unnest(m.derived_from) AS no FROM term
    CROSS JOIN LATERAL (SELECT * FROM measurement m
                         WHERE m.patient_id = $1 AND m.miv_url = term.miv_url AND m.effective_ms >= term.floor_ms
                           AND m.derived_from <> '{{{{}}}}' AND m.deleted_ms IS NULL OFFSET 0) m
), measurements AS NOT MATERIALIZED (
  SELECT {Kind.MEASUREMENT:d} AS kind, m.measurement_no AS no, 0::bigint AS k, m.miv_url, m.code_system, m.code,
         m.effective_ms AS start_ms, {END} AS end_ms, m.device_no,
         m.epoch_no AS metric_no, m.status,
         {_OPENED.format(updated="m.updated_ms", end=END)}
           AS updated_ms, m.value, m.unit, m.comparator, m.content, m.derived_from,
         {END} >= term.floor_ms OR m.measurement_no IN (SELECT no FROM sources)
           AS within,
         m.deleted_ms IS NOT NULL AS deleted
    FROM term CROSS JOIN LATERAL ({{stored}}) m
)"""

# The measurements that may be seen under a `term`: what began in the period, or briefly before it; what lasts into it
# (index measurement_lasting); and what others are derived from.
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

# `seen`: the Observations that a search may return, and that make their Device and DeviceMetric visible (SCO-006).
# `metrics` and `devices`: those, with what is searched of them. `expected` as _EXPECTED says.
_ANCHORED = f"""
seen AS NOT MATERIALIZED (SELECT * FROM observations WHERE within AND NOT deleted),
expected AS MATERIALIZED ({{expected}}),
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

# By Device, when it became visible by chunks of which nothing has arrived; 0 when it is by what is stored.
_EXPECTED = f"""
  SELECT device_no, min(coalesce(expected_ms, 0)) AS expected_ms FROM series
   WHERE expected_ms IS NULL OR (expected_ms <= {NOW} AND (end_ms IS NULL OR first_ms < end_ms)) GROUP BY device_no"""
_NONE_EXPECTED = "SELECT NULL::bigint AS device_no, NULL::bigint AS expected_ms WHERE false"


def _of_period() -> str:
    """Chunks that end within the historic period."""
    series = _SERIES.format(chosen=_ENDS_WITHIN, sensors="(SELECT DISTINCT sensor_no FROM period)")
    return f"{series},{_CHUNKS.format(kept=_NUMBERED_WITHIN)}"


def chunk_of_key() -> str:
    """The common table expressions moment, term, period, worn and chunks of the chunk $10 of the series $9.

    $1 to $8 are those of `View`: since when Devices and DeviceMetrics are visible does not matter to a chunk, and a
    parameter that stands nowhere would have no type.
    """
    series = _SERIES.format(chosen="e.epoch_no = $9", sensors="period")
    return f"{TERM},{series},{_CHUNKS.format(kept='c.k = $10')}"


@cache
def sources_of(observed: frozenset[Kind], numbered: bool) -> str:
    """The common table expressions moment, term, observations, seen, metrics and devices, and what they are made of.

    `observed`: the kinds of Observations that the MIVs of the view have.
    `numbered`: of single values only that with the number $10, at any age; what else is visible, and since when Devices
    are, is not told then.
    """
    kinds = {}
    if Kind.CHUNK in observed:
        kinds["chunks"] = _of_period()
    if Kind.MEASUREMENT in observed:
        kinds["measurements"] = _MEASUREMENTS.format(stored=_NUMBERED if numbered else _VISIBLE)
    union = " UNION ALL ".join(f"SELECT * FROM {name}" for name in kinds)
    anchored = _ANCHORED.format(expected=_EXPECTED if Kind.CHUNK in observed else _NONE_EXPECTED)
    return ",".join([TERM, *kinds.values(), f"\nobservations AS NOT MATERIALIZED ({union})", anchored])
