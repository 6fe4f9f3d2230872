"""The chunks that a DiGA may see, as SQL: stored chunks and expected ones.

The rules repeat ddr.series (epoch, grid, status); tests make sure that both agree. How rows are looked up is explained
in ddr.store.search.sources.
"""

from __future__ import annotations

from ddr.store.database.ids import Kind
from ddr.store.search.view import NOW, TERM, seen_since
from ddr.store.series.bounds import LAST, SHORTEST_MS, first_k

# When a series, `e` (epoch) of `s` (sensor) under `term`, became visible through the first expected chunk of which
# nothing has arrived; null when it is visible through stored chunks, which have their own timestamps
# (ddr.store.devices.appearance). `_NEXT` is the expected start of the first chunk that is not stored, `_FIRST` that of
# the first one that does not end before the historic period.
_NEXT = "coalesce(e.tail_start_ms + s.span_ms, e.from_ms / 1000 * 1000)"
_FIRST = f"({_NEXT} + s.span_ms * greatest(0, (term.floor_ms - {_NEXT}) / s.span_ms))"
EXPECTED = f"""
CASE WHEN s.continuous AND (e.tail_start_ms IS NULL OR greatest(e.tail_start_ms, least(
              e.tail_start_ms + s.span_ms, e.until_ms / 1000 * 1000) - 1000) + 999 < term.floor_ms)
     THEN greatest({_FIRST} + s.period_ms, s.created_ms, e.created_ms) + term.delay_ms END"""
# The same as a timestamp. What is not yet visible through an expected chunk is visible through a stored one (whose
# readings may all have moved to another series), and no timestamp lies in the future.
APPEARED = f"CASE WHEN {EXPECTED} <= {NOW} THEN {EXPECTED} END"
# For each Device, when it became visible through chunks of which nothing has arrived; 0 when it is visible through
# stored ones.
EXPECTED_OF_DEVICES = f"""
  SELECT device_no, min(coalesce(expected_ms, 0)) AS expected_ms FROM series
   WHERE expected_ms IS NULL OR (expected_ms <= {NOW} AND (end_ms IS NULL OR first_ms < end_ms)) GROUP BY device_no"""

_ENDS_WITHIN = f"{LAST} >= (SELECT min(floor_ms) FROM term) - {SHORTEST_MS}"
_NUMBERED_WITHIN = f"c.k >= {first_k('s', 's.floor_ms')}"

# A chunk whose values a late event moved elsewhere stays visible as long as with its values, so that DiGA that know it
# learn of it.
_GONE = "c.status = 'e' AND c.start_ms + s.span_ms > s.floor_ms"


# `period`: the epochs to look at: those within the historic period, or the one that is read.
# `worn`: their sensors, each once, with those properties of its device that end a series.
# `series`: each of these epochs of a continuous sensor under its term, unless it is withheld (SER-018):
#   `cut_ms` is the whole second in which the epoch ends; from `end_ms` on no reading is expected (null: never ends);
#   `next_k` and `next_ms` are number and expected start of the first chunk that is not stored;
#   `newest_ms` is the latest possible start of a chunk of which nothing has arrived;
#   `expected_ms` is EXPECTED, `first_ms` the start of that chunk.
def _series(chosen: str, sensors: str) -> str:
    return f"""
period AS MATERIALIZED (
  SELECT e.* FROM epoch e WHERE e.patient_id = $1 AND {chosen}
),
worn AS MATERIALIZED (
  SELECT s.*, d.expiration_ms, d.ended_ms AS device_ended_ms
    FROM {sensors} p
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


# One row per chunk: the stored ones, then the expected ones of which nothing has arrived (SER-014, SER-024), from
# number `next_k` at `next_ms` on; none starts after `newest_ms`. `within`: it ends within the historic period. `x` has
# both, `y` the last second of each, and `z` when it becomes final by time (ddr.series.status.settles).
def _chunks(kept: str) -> str:
    return f"""
chunks AS NOT MATERIALIZED (
  SELECT {Kind.CHUNK:d} AS kind, s.epoch_no AS no, c.k, s.miv_url, s.code_system, s.code, c.start_ms,
         c.end_ms + 999 AS end_ms, s.device_no, s.metric_no,
         CASE WHEN c.settled OR c.status = 'f' THEN 'final' WHEN c.status = 'p' THEN 'preliminary'
              WHEN c.status = 'e' THEN 'entered-in-error' ELSE 'amended' END AS status,
         {seen_since("c.updated_ms, CASE WHEN c.settled THEN c.settles_ms + 1 END", "c.end_ms + 999")}
           AS updated_ms,
         NULL::numeric AS value, NULL AS unit, NULL AS comparator, NULL::bytea AS content,
         '{{}}'::bigint[] AS derived_from, c.end_ms + 999 >= s.floor_ms OR ({_GONE}) AS within, false AS deleted
    FROM series s
    CROSS JOIN LATERAL (
      SELECT x.*, end_ms, settles_ms, x.status = 'p' AND settles_ms < {NOW} AS settled
        FROM (
          SELECT c.k, c.start_ms, c.updated_ms, c.status FROM chunk c
           WHERE c.patient_id = $1 AND c.epoch_no = s.epoch_no AND {kept}
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


def chunks_of_period() -> str:
    """The common table expressions period, worn, series and chunks: those that end within the historic period."""
    return f"{_series(_ENDS_WITHIN, '(SELECT DISTINCT sensor_no FROM period)')},{_chunks(_NUMBERED_WITHIN)}"


def chunk_of_key() -> str:
    """The common table expressions moment, term, period, worn and chunks of the chunk $10 of the series $9.

    $1 to $8 are those of `View`. A chunk does not depend on when Devices and DeviceMetrics became visible, and a
    parameter that is not used would have no type.
    """
    return f"{TERM},{_series('e.epoch_no = $9', 'period')},{_chunks('c.k = $10')}"
