"""The stored chunks of continuous sensors: locked, read and written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from itertools import chain
from uuid import UUID

import asyncpg

from ddr.aside import LARGE_CHUNKS, aside
from ddr.series.epoch import Chunk, Epoch
from ddr.series.merge import Merge
from ddr.series.packing import Reading, decode
from ddr.series.status import WITHDRAWN
from ddr.store.database.pool import Row
from ddr.store.devices.appearance import series_appeared
from ddr.store.series.bounds import first_k
from ddr.store.series.sensors import CHUNK_COLUMNS, Sensor, chunk_of

# It does not lock the epochs: a single statement would not see an epoch made while it waits.
_LOCK = "SELECT FROM sensor WHERE patient_id = $1 AND sensor_no = $2 FOR NO KEY UPDATE"

_EPOCHS = """
    SELECT e.patient_id, e.epoch_no, e.sensor_no, e.device_no, e.from_ms, e.until_ms, e.calibration_state,
           e.calibration_type, e.calibration_time, e.display_unit, e.tail_k, e.tail_start_ms, e.version, e.updated_ms,
           e.created_ms, s.continuous, s.registration, s.started_ms, s.period_ms, s.span_ms, s.buffering_ms,
           s.complete_until_ms, greatest(s.created_ms, e.created_ms) AS registered_ms, s.ended_ms AS sensor_ended_ms,
           s.lower_limit, s.upper_limit, d.ended_ms AS device_ended_ms, d.expiration_ms
      FROM sensor s
      JOIN device d ON d.patient_id = $1 AND d.device_no = s.device_no
      JOIN epoch e ON e.patient_id = $1 AND e.sensor_no = s.sensor_no
     WHERE s.patient_id = $1 AND s.sensor_no = $2 AND NOT e.withdrawn
     ORDER BY e.from_ms FOR NO KEY UPDATE OF e"""

# A reading lies at most half a period before the start of its chunk. OFFSET 0 makes the planner look up an epoch's
# chunks from that number on, even where it estimates that the patient has few chunks.
_BETWEEN = f"""
    SELECT c.start_ms, c.times, c.vals, s.period_ms
      FROM sensor s
      JOIN epoch e ON e.patient_id = $1 AND e.sensor_no = s.sensor_no
      CROSS JOIN LATERAL (
        SELECT start_ms, times, vals FROM chunk
         WHERE patient_id = $1 AND epoch_no = e.epoch_no AND filled > 0 AND k >= {first_k("e", "$3::bigint")}
           AND last_ms >= $3 AND start_ms <= $4::bigint + s.period_ms OFFSET 0) AS c
     WHERE s.patient_id = $1 AND s.sensor_no = $2"""  # noqa: S608

# Withdrawn chunks keep their place when the chunks before them move: nothing follows from their place.
_LAST_CHUNKS = f"""
    SELECT {CHUNK_COLUMNS} FROM chunk
     WHERE patient_id = $1 AND epoch_no = $2 AND k >= coalesce(
           (SELECT max(k) FROM chunk
             WHERE patient_id = $1 AND epoch_no = $2 AND start_ms <= $3 AND status <> '{WITHDRAWN}'), 0)
     ORDER BY k FOR NO KEY UPDATE"""  # noqa: S608

_WRITE = f"""
    INSERT INTO chunk (patient_id, epoch_no, {CHUNK_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (patient_id, epoch_no, k) DO UPDATE
       SET start_ms = excluded.start_ms, last_ms = excluded.last_ms, updated_ms = excluded.updated_ms,
           version = excluded.version, filled = excluded.filled, status = excluded.status, times = excluded.times,
           vals = excluded.vals"""  # noqa: S608

_TAIL = "UPDATE epoch SET tail_k = $3, tail_start_ms = $4 WHERE patient_id = $1 AND epoch_no = $2"

# Searches then find it by that time, even after the end of its epoch (ddr.store.series.bounds).
_WITHDRAWN = """
    UPDATE epoch SET last_withdrawn_ms = $3::bigint
     WHERE patient_id = $1 AND epoch_no = $2 AND coalesce(last_withdrawn_ms, 0) < $3"""

_TERMS = "UPDATE chunk SET terms = terms + 1 WHERE patient_id = $1 AND epoch_no = ANY($2::bigint[]) AND status = 'p'"


async def readings_between(pool: asyncpg.Pool, sensor: Sensor, from_ms: int, until_ms: int) -> set[Reading]:
    """All readings of the chunks of this time, which includes some around it."""
    rows = await pool.fetch(_BETWEEN, sensor.patient_id, sensor.sensor_no, from_ms, until_ms)
    return await aside(len(rows) > LARGE_CHUNKS, _decoded, rows)


def _decoded(rows: Iterable[Row]) -> set[Reading]:
    known = (decode(row["times"], row["vals"], row["start_ms"], row["period_ms"]) for row in rows)
    return set(chain.from_iterable(known))


NumberedEpoch = tuple[int, Epoch]


async def lock_epoch_rows(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int) -> list[Row]:
    """The epochs of a sensor in order of time, locked against other merges until the transaction ends.

    Each row has the epoch's columns, and those of sensor and device that a series depends on.
    """
    await conn.execute(_LOCK, patient_id, sensor_no)
    rows: list[Row] = await conn.fetch(_EPOCHS, patient_id, sensor_no)
    return rows


def as_epochs(rows: Iterable[Row], delay_ms: int) -> list[NumberedEpoch]:
    """The epochs in rows of `lock_epoch_rows`, each with its number; `delay_ms` is the MIV's Delay-From-Real-Time."""
    return [(row["epoch_no"], Epoch.of(row, delay_ms)) for row in rows]


async def last_chunks(
    conn: asyncpg.Connection, patient_id: UUID, epoch_no: int, epoch: Epoch, first_ms: int
) -> list[Chunk]:
    """The stored chunks that a reading at `first_ms` or later can change, and the live one before them; all locked."""
    before_ms = first_ms - epoch.grid.bound(0)  # a chunk that starts by then ends before the reading
    rows = await conn.fetch(_LAST_CHUNKS, patient_id, epoch_no, before_ms)
    return [chunk_of(row) for row in rows]


async def write(conn: asyncpg.Connection, patient_id: UUID, epoch_no: int, epoch: Epoch, merged: Merge) -> None:
    """Store the changed chunks and the new end of the series. The caller holds the lock of the patient."""
    if merged.changed:
        await conn.executemany(_WRITE, [(patient_id, epoch_no, *astuple(chunk)) for chunk in merged.changed])
    withdrawn = [chunk.start_ms for chunk in merged.changed if chunk.status == WITHDRAWN]
    if withdrawn:
        await conn.execute(_WITHDRAWN, patient_id, epoch_no, max(withdrawn) + epoch.grid.span_ms - 1)
    tail = (merged.tail.k, merged.tail.start_ms) if merged.tail else (None, None)
    if tail != (epoch.tail_k, epoch.tail_start_ms):
        await conn.execute(_TAIL, patient_id, epoch_no, *tail)
        if merged.tail is not None:
            await series_appeared(conn, patient_id, epoch_no, epoch)


async def change_terms(conn: asyncpg.Connection, patient_id: UUID, numbers: Sequence[int]) -> None:
    """Make sure that nobody appends to these epochs under the former terms."""
    await conn.execute(_TERMS, patient_id, numbers)
