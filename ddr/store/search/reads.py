"""One resource by its key, and its former versions; always of one patient and under what a request may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from ddr.store.database.ids import Kind
from ddr.store.search.rows import COLUMNS, ROWS, lookups
from ddr.store.search.sources import View

Row = Mapping[str, Any]

_TABLES = {Kind.CHUNK: "observations", Kind.MEASUREMENT: "observations", Kind.METRIC: "metrics", Kind.DEVICE: "devices"}
_STATE = {"observations": "o.within, o.deleted"}

_FORMER = {
    Kind.MEASUREMENT: """SELECT version, epoch_no, derived_from, content, status, updated_ms
          FROM measurement_version WHERE patient_id = $1 AND measurement_no = $2 AND version = $3""",
    Kind.METRIC: """SELECT version AS epoch_version, false AS withdrawn, calibration_state, calibration_type,
               calibration_time, display_unit, updated_ms AS epoch_updated_ms
          FROM epoch_version WHERE patient_id = $1 AND epoch_no = $2 AND version = $3""",
}


async def read(pool: asyncpg.Pool, view: View, kind: Kind, no: int, k: int) -> Row | None:
    """The resource with this key, or None when the view does not hold it.

    An Observation is found beyond the historic period and when deleted, too: `within` and `deleted` tell.
    """
    table = _TABLES[kind]
    sources, observed = view.sources(), view.observed
    if table == "observations":
        if kind not in observed:
            return None
        sources, observed = view.sources_of(kind), frozenset({kind})
    query = f"""WITH {sources},
hit AS (
  SELECT 1 AS ord, true AS matched, o.kind, o.no, o.k, {_STATE.get(table, "true AS within, false AS deleted")}
    FROM {table} o WHERE o.kind = {kind:d} AND o.no = $10 AND o.k = $11
),{lookups(observed)}
SELECT hit.within, hit.deleted, {COLUMNS} FROM hit CROSS JOIN ({ROWS})"""
    row: Row | None = await pool.fetchrow(query, *view.parameters(), no, k)
    return row


async def former_version(pool: asyncpg.Pool, view: View, kind: Kind, no: int, version: int) -> Row | None:
    """The columns in which an earlier version of a measurement or an epoch differed, or None."""
    if kind not in _FORMER:
        return None
    row: Row | None = await pool.fetchrow(_FORMER[kind], view.patient_id, no, version)
    return row
