"""The stored chunks of continuous sensors: locked, read and written, and readings merged into them.

Any number of workers may write to one sensor: an append (ddr.store.series.appending) takes effect only on the very
chunk it was made for, and a merge locks the sensor, so that the result is as if one writer had done it all. Both answer
only after the commit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from itertools import chain
from uuid import UUID

import asyncpg

from ddr.aside import LARGE_CHUNKS, LARGE_ITEMS, aside
from ddr.series.epoch import Chunk, Epoch
from ddr.series.merge import Merge, merge
from ddr.series.packing import Reading, decode
from ddr.series.status import WITHDRAWN
from ddr.store.database.kept import kept
from ddr.store.database.stamps import lock_patient
from ddr.store.devices.appearance import series_appeared
from ddr.store.devices.devices import Row, heard
from ddr.store.gateways.claims import Noted, leave_out, note_rivals, noted_on
from ddr.store.gateways.uploads import note_upload, taken_back
from ddr.store.series.appending import HEARD_STEP_MS
from ddr.store.series.bounds import first_k
from ddr.store.series.sensors import CHUNK_COLUMNS, Sensor, check_limits, chunk_of

# Not the epochs: an epoch made while this waits would not be among those that a single statement saw when it began.
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

# A reading lies at most half a period before its chunk's start. With OFFSET 0 an epoch's chunks are looked up from that
# number on, however few of all of the patient's the planner takes for the average.
_BETWEEN = f"""
    SELECT c.start_ms, c.times, c.vals, s.period_ms
      FROM sensor s
      JOIN epoch e ON e.patient_id = $1 AND e.sensor_no = s.sensor_no
      CROSS JOIN LATERAL (
        SELECT start_ms, times, vals FROM chunk
         WHERE patient_id = $1 AND epoch_no = e.epoch_no AND filled > 0 AND k >= {first_k("e", "s", "$3::bigint")}
           AND last_ms >= $3 AND start_ms <= $4::bigint + s.period_ms OFFSET 0) AS c
     WHERE s.patient_id = $1 AND s.sensor_no = $2"""  # noqa: S608

# What was withdrawn stays where it was when the chunks before it move: nothing follows from its place.
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

# Searches find it by that time after the end of its epoch, too (ddr.store.series.bounds).
_WITHDRAWN = """
    UPDATE epoch SET last_withdrawn_ms = $3::bigint
     WHERE patient_id = $1 AND epoch_no = $2 AND coalesce(last_withdrawn_ms, 0) < $3"""

_TERMS = "UPDATE chunk SET terms = terms + 1 WHERE patient_id = $1 AND epoch_no = ANY($2::bigint[]) AND status = 'p'"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the readings of an upload; those in none of the sets were stored before."""

    accepted: set[Reading] = field(default_factory=set)
    hidden: set[Reading] = field(default_factory=set)  # accepted, but another reading of the same slot is shown
    early: set[Reading] = field(default_factory=set)  # before the sensor was in use
    late: set[Reading] = field(default_factory=set)  # after it was
    deleted: set[Reading] = field(default_factory=set)  # the gateway took them back
    rivals: set[Reading] = field(default_factory=set)  # accepted, and other values are stored for their instant
    superseded: set[Reading] = field(default_factory=set)  # a correction stands in their place


Afterwards = Callable[[asyncpg.Connection, Sensor, Sequence[Reading], int, int], Awaitable[None]]


async def merge_readings(
    pool: asyncpg.Pool,
    sensor: Sensor,
    readings: Sequence[Reading],
    now_ms: int,
    delay_ms: int,
    upload_key: str | None = None,
    steered_ms: int | None = None,
    then: Afterwards | None = None,
) -> Outcome | None:
    """Put any ascending `readings` where they belong, in one transaction; None when the sensor is gone.

    `delay_ms` is the Delay-From-Real-Time of the sensor's MIV; `now_ms` and `steered_ms` as for an append.
    `then` is what else is to be done in the same transaction, with the lock of the patient.
    Raises UploadDeleted, and LimitsAdded when the readings have to be judged again.
    """
    outcome, noted, large = Outcome(), Noted(), len(readings) > LARGE_ITEMS
    if now_ms - sensor.heard_ms >= HEARD_STEP_MS:
        await heard(pool, sensor.patient_id, [sensor.device_no], now_ms)
    if upload_key is None and await _all_stored(pool, sensor, readings):
        return outcome
    async with pool.acquire() as conn, conn.transaction():
        stamp_ms = await lock_patient(conn, sensor.patient_id, steered_ms)
        if stamp_ms is None:
            return None
        rows = await lock_epoch_rows(conn, sensor.patient_id, sensor.sensor_no)
        if not rows:
            return None
        check_limits(sensor, rows[0])
        epochs = as_epochs(rows, delay_ms)
        if upload_key is not None:
            await note_upload(conn, sensor.patient_id, sensor.sensor_no, upload_key, readings, stamp_ms)
        if readings:
            noted = await _apply_former_acts(conn, sensor, readings, stamp_ms, outcome)
        apart = outcome.deleted | outcome.superseded
        counting = [reading for reading in readings if reading not in apart] if apart else readings
        for (epoch_no, epoch), part in await aside(large, _routed, epochs, counting, outcome):
            stored = await last_chunks(conn, sensor.patient_id, epoch_no, epoch, part[0][0])
            merged = await aside(
                large or len(stored) > LARGE_CHUNKS, merge, epoch, stored, part, stamp_ms, came=noted.came
            )
            await write(conn, sensor.patient_id, epoch_no, epoch, merged)
            outcome.accepted.update(merged.accepted)
            outcome.hidden.update(merged.hidden)
            await _note_rivals(conn, sensor, merged, stamp_ms)
            outcome.rivals.update(merged.rivals & merged.accepted)
        if then is not None and counting:
            await then(conn, sensor, counting, stamp_ms, delay_ms)
    return outcome


async def _apply_former_acts(
    conn: asyncpg.Connection, sensor: Sensor, readings: Sequence[Reading], stamp_ms: int, outcome: Outcome
) -> Noted:
    """Put into `outcome` the readings that were taken back, and those in whose place a correction stands.

    Returns what is noted of their instants.
    """
    patient_id, sensor_no = sensor.patient_id, sensor.sensor_no
    gone = await taken_back(conn, patient_id, sensor_no, readings[0][0], readings[-1][0])
    outcome.deleted.update(gone.intersection(readings))
    noted = await noted_on(conn, patient_id, sensor_no, readings)
    overruled = noted.overruled - gone
    await note_rivals(conn, patient_id, sensor_no, sorted(overruled), stamp_ms, overruled=True)
    await leave_out(conn, patient_id, sensor_no, {time for time, _ in overruled}, ())
    outcome.accepted.update(overruled)
    outcome.superseded.update(overruled, noted.replaced - gone)
    return noted


async def _note_rivals(conn: asyncpg.Connection, sensor: Sensor, merged: Merge, stamp_ms: int) -> None:
    """Remember in which order different values of one instant came, and how many more than are kept."""
    kept, left_out = merged.rivals - merged.left_out, merged.left_out
    for rivals in (kept - merged.accepted, kept & merged.accepted):
        await note_rivals(conn, sensor.patient_id, sensor.sensor_no, sorted(rivals), stamp_ms)
    await leave_out(conn, sensor.patient_id, sensor.sensor_no, {time for time, _ in left_out}, left_out)


async def _all_stored(pool: asyncpg.Pool, sensor: Sensor, readings: Sequence[Reading]) -> bool:
    """True for a repeated upload, which then takes no locks and writes nothing. What is stored is never taken back.

    The first one may have got no answer because a standby did not have it yet: this one waits for that.
    """
    found = (await readings_between(pool, sensor, readings[0][0], readings[-1][0])).issuperset(readings)
    if found:
        await kept(pool)
    return found


async def readings_between(pool: asyncpg.Pool, sensor: Sensor, from_ms: int, until_ms: int) -> set[Reading]:
    """All readings of the chunks of this time, so some around it, too."""
    rows = await pool.fetch(_BETWEEN, sensor.patient_id, sensor.sensor_no, from_ms, until_ms)
    return await aside(len(rows) > LARGE_CHUNKS, _decoded, rows)


def _decoded(rows: Iterable[Row]) -> set[Reading]:
    known = (decode(row["times"], row["vals"], row["start_ms"], row["period_ms"]) for row in rows)
    return set(chain.from_iterable(known))


NumberedEpoch = tuple[int, Epoch]


async def lock_epoch_rows(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int) -> list[Row]:
    """The epochs of a sensor in order of time, which nobody else merges into until the transaction ends.

    Each row has its columns, and those of sensor and device that a series depends on.
    """
    await conn.execute(_LOCK, patient_id, sensor_no)
    rows: list[Row] = await conn.fetch(_EPOCHS, patient_id, sensor_no)
    return rows


def as_epochs(rows: Iterable[Row], delay_ms: int) -> list[NumberedEpoch]:
    """The epochs of rows of `lock_epoch_rows`, each with its number; `delay_ms` as for merge_readings."""
    return [(row["epoch_no"], Epoch.of(row, delay_ms)) for row in rows]


def _routed(
    epochs: Sequence[NumberedEpoch], readings: Iterable[Reading], outcome: Outcome
) -> Iterable[tuple[NumberedEpoch, list[Reading]]]:
    """Each epoch with its readings, and into `outcome` those that belong to none."""
    starts = [epoch.grid.from_ms for _, epoch in epochs]
    parts: list[list[Reading]] = [[] for _ in epochs]
    for reading in readings:
        at = bisect_right(starts, reading[0]) - 1
        if at < 0:
            outcome.early.add(reading)
        elif epochs[at][1].grid.holds(reading[0]):
            parts[at].append(reading)
        else:
            outcome.late.add(reading)
    return [(epoch, part) for epoch, part in zip(epochs, parts, strict=True) if part]


async def last_chunks(
    conn: asyncpg.Connection, patient_id: UUID, epoch_no: int, epoch: Epoch, first_ms: int
) -> list[Chunk]:
    """The stored chunks that a reading at `first_ms` or later can change, and the live one before them; locked."""
    before_ms = first_ms - epoch.grid.bound(0)  # a chunk that starts by then ends before the reading
    rows = await conn.fetch(_LAST_CHUNKS, patient_id, epoch_no, before_ms)
    return [chunk_of(row) for row in rows]


async def write(conn: asyncpg.Connection, patient_id: UUID, epoch_no: int, epoch: Epoch, merged: Merge) -> None:
    """Store the changed chunks, and where the series ends now. The caller holds the lock of the patient."""
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
    """Let nobody append to these epochs under the terms that were in force until now."""
    await conn.execute(_TERMS, patient_id, numbers)
