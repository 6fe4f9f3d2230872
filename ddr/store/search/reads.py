"""One resource by its key, and its former versions; always of one patient and under what a request may see."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import asyncpg

from ddr.store.database.ask_there import fetch_of_patient
from ddr.store.database.each_there import Statement
from ddr.store.database.ids import Kind
from ddr.store.database.pool import Row
from ddr.store.database.several import fetch_together
from ddr.store.database.spreading import is_spread
from ddr.store.search.chunks import chunk_of_key
from ddr.store.search.rows import COLUMNS, ROWS, lookups
from ddr.store.search.sources import sources_of
from ddr.store.search.view import NOW, PARAMETERS, View

_OBSERVATIONS = (Kind.CHUNK, Kind.MEASUREMENT)
_TABLES = {Kind.MEASUREMENT: "observations", Kind.METRIC: "metrics", Kind.DEVICE: "devices"}  # where a statement looks
_TYPES = (*PARAMETERS, "bigint", "bigint")
_TYPES_OF_CHUNK = (*PARAMETERS[:-1], "bigint", "bigint")

_FORMER = {
    Kind.MEASUREMENT: """SELECT version, epoch_no, derived_from, content, status, updated_ms
          FROM measurement_version WHERE patient_id = $1 AND measurement_no = $2 AND version = $3""",
    Kind.METRIC: """SELECT version AS epoch_version, false AS withdrawn, calibration_state, calibration_type,
               calibration_time, display_unit, updated_ms AS epoch_updated_ms, updated_ms AS epoch_stamp_ms
          FROM epoch_version WHERE patient_id = $1 AND epoch_no = $2 AND version = $3""",
}


# A chunk only names its Device or DeviceMetric and shows nothing of them, so what determines the chunks is all it
# needs.
_CHUNK = f"""
SELECT o.within, o.deleted, {NOW} AS at_ms, o.kind, o.no, o.k, o.miv_url AS observed_miv,
       o.code_system AS observed_system, o.code AS observed_code,
       c.status, c.version, c.updated_ms, c.start_ms, c.last_ms, c.filled, c.times, c.vals,
       e.epoch_no, e.device_no, e.from_ms, e.until_ms, e.tail_k, e.tail_start_ms,
       greatest(s.created_ms, e.created_ms) AS registered_ms,
       s.unit, s.calibrated_device, s.method, s.note, s.period_ms, s.decimals, s.lower_limit, s.upper_limit, s.span_ms,
       s.buffering_ms, s.complete_until_ms, s.ended_ms AS sensor_ended_ms, s.expiration_ms, s.device_ended_ms
  FROM chunks o
  JOIN period e ON e.epoch_no = o.no
  JOIN worn s ON s.sensor_no = e.sensor_no
  LEFT JOIN LATERAL (SELECT * FROM chunk c WHERE c.patient_id = $1 AND c.epoch_no = o.no AND c.k = o.k LIMIT 1) c
       ON true
 WHERE o.no = $9 AND o.k = $10"""


async def read(
    pool: asyncpg.Pool, view: View, kind: Kind, no: int, k: int, fetched: Sequence[Row] | None = None
) -> Row | None:
    """The resource with this key, or None when the view does not contain it.

    An Observation is also found beyond the historic period and when it is deleted; `within` and `deleted` say so.
    `fetched`: the rows of `read_statement`, if it was run already; when there are none, the database is asked again.
    """
    if fetched:
        return fetched[0]
    statement = read_statement(view, kind, no, k)
    if statement is None:
        return None
    text, given = statement.text, statement.arguments
    if is_spread(pool):
        rows = await fetch_of_patient(pool, text, *given)
    else:
        rows = await fetch_together(pool, text, _TYPES_OF_CHUNK if kind is Kind.CHUNK else _TYPES, *given)
    return rows[0] if rows else None


def read_statement(view: View, kind: Kind, no: int, k: int) -> Statement | None:
    """The statement of a read, to be sent along with another; None for an Observation of a kind that no MIV has."""
    if kind in _OBSERVATIONS and kind not in view.observed:
        return None
    return Statement(_text(kind, view.observed), _parameters(view, kind, no, k))


def _parameters(view: View, kind: Kind, no: int, k: int) -> list[Any]:
    """The parameters of `_text`: those of the view that it uses, and the key."""
    of_view = view.parameters()
    return [*(of_view[:-1] if kind is Kind.CHUNK else of_view), no, k]


@cache
def _text(kind: Kind, observed: frozenset[Kind]) -> str:
    """The text of the statement that reads a resource of this kind in a view with these kinds of Observations."""
    if kind is Kind.CHUNK:
        return f"WITH {chunk_of_key()}{_CHUNK}"
    single = kind is Kind.MEASUREMENT
    if single:
        observed = frozenset({kind})
    state = "o.within, o.deleted" if single else "true AS within, false AS deleted"  # these contain only visible ones
    return f"""WITH {sources_of(observed, numbered=single)},
hit AS (
  SELECT 1 AS ord, true AS matched, o.kind, o.no, o.k, {state}
    FROM {_TABLES[kind]} o WHERE o.kind = {kind:d} AND o.no = $10 AND o.k = $11
),{lookups(observed)}
SELECT hit.within, hit.deleted, {COLUMNS} FROM hit CROSS JOIN ({ROWS})"""


async def former_version(pool: asyncpg.Pool, view: View, kind: Kind, no: int, version: int) -> Row | None:
    """The columns in which a former version of a measurement or an epoch differed, or None."""
    if kind not in _FORMER:
        return None
    row: Row | None = await pool.fetchrow(_FORMER[kind], view.patient_id, no, version)
    return row
