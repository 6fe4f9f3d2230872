"""From when until when a patient has continuous readings, found by indexes, however many years. Read only."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ddr.series.grid import SECOND
from ddr.store.series.bounds import LAST

# Epochs of the MIV with readings; `c` is the first or the last of their chunks that has any.
_READ = """
  FROM epoch e
  CROSS JOIN LATERAL (
    SELECT FROM sensor s
     WHERE s.patient_id = $1 AND s.sensor_no = e.sensor_no AND s.miv_url = $2 AND s.continuous LIMIT 1) s
  CROSS JOIN LATERAL (
    SELECT c.start_ms, c.last_ms FROM chunk c
     WHERE c.patient_id = $1 AND c.epoch_no = e.epoch_no AND c.filled > 0 ORDER BY c.k {way} LIMIT 1) c
 WHERE e.patient_id = $1"""
_FROM_FIRST, _FROM_LAST = _READ.format(way="ASC"), _READ.format(way="DESC")

# The epoch that began first need not have the first reading, but one that began after a reading has none before it. The
# same holds at the end.
_BETWEEN = f"""
    SELECT (SELECT min(c.start_ms) {_FROM_FIRST} AND e.from_ms < {SECOND} +
                   (SELECT c.start_ms {_FROM_FIRST} ORDER BY e.from_ms LIMIT 1)) AS first_ms,
           (SELECT max(c.last_ms) {_FROM_LAST} AND {LAST} >=
                   (SELECT c.last_ms {_FROM_LAST} ORDER BY {LAST} DESC LIMIT 1)) AS last_ms"""


async def measured_between(pool: asyncpg.Pool, patient_id: UUID, valueset: str) -> tuple[int, int] | None:
    """First and last instant of this patient's continuous readings of a MIV, or None.

    The first is the start of its chunk, at most half a sampling period from the reading.
    """
    row = await pool.fetchrow(_BETWEEN, patient_id, valueset)
    return None if row["first_ms"] is None else (row["first_ms"], row["last_ms"])
