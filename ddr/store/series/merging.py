"""Merging readings into the stored chunks of a continuous sensor, wherever they belong.

Any number of workers may write to one sensor. An append (ddr.store.series.appending) changes a chunk only if it is as
expected, and a merge locks the sensor, so the result is as if a single writer had done it all. Both answer only
after the commit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import asyncpg

from ddr.aside import LARGE_CHUNKS, LARGE_ITEMS, aside
from ddr.series.merge import Merge, merge
from ddr.series.packing import Reading
from ddr.store.database.kept import wait_for_standby
from ddr.store.database.stamps import lock_patient
from ddr.store.devices.devices import note_heard
from ddr.store.series.appending import HEARD_STEP_MS
from ddr.store.series.chunks import NumberedEpoch, as_epochs, last_chunks, lock_epoch_rows, readings_between, write
from ddr.store.series.claims import Noted, leave_out, note_rivals, noted_on
from ddr.store.series.giving_way import give_way
from ddr.store.series.sensors import Sensor, check_limits
from ddr.store.series.uploads import note_upload, taken_back


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the readings of an upload; those in none of the sets had already been stored."""

    accepted: set[Reading] = field(default_factory=set)
    hidden: set[Reading] = field(default_factory=set)  # accepted, but another reading of the same slot is shown
    early: set[Reading] = field(default_factory=set)  # before the sensor was in use
    late: set[Reading] = field(default_factory=set)  # after the sensor was in use
    deleted: set[Reading] = field(default_factory=set)  # the gateway took them back
    rivals: set[Reading] = field(default_factory=set)  # accepted, but other values are stored for their instant, too
    superseded: set[Reading] = field(default_factory=set)  # a correction replaces them


async def merge_readings(
    pool: asyncpg.Pool,
    sensor: Sensor,
    readings: Sequence[Reading],
    now_ms: int,
    delay_ms: int,
    upload_key: str | None = None,
    steered_ms: int | None = None,
) -> Outcome | None:
    """Put any ascending `readings` where they belong, in one transaction; None when the sensor is gone.

    `delay_ms` is the Delay-From-Real-Time of the sensor's MIV; `now_ms` and `steered_ms` are as for an append. Raises
    UploadDeleted, and LimitsAdded when the readings must be judged again.
    """
    outcome, large = Outcome(), len(readings) > LARGE_ITEMS
    if now_ms - sensor.heard_ms >= HEARD_STEP_MS:
        await note_heard(pool, sensor.patient_id, [sensor.device_no], now_ms)
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
        if upload_key is not None:
            await note_upload(conn, sensor.patient_id, sensor.sensor_no, upload_key, readings, stamp_ms)
        if not readings:
            return outcome
        noted = await _apply_former_acts(conn, sensor, readings, stamp_ms, outcome)
        apart = outcome.deleted | outcome.superseded
        counting = [reading for reading in readings if reading not in apart] if apart else readings
        for (epoch_no, epoch), part in await aside(large, _routed, as_epochs(rows, delay_ms), counting, outcome):
            stored = await last_chunks(conn, sensor.patient_id, epoch_no, epoch, part[0][0])
            merged = await aside(
                large or len(stored) > LARGE_CHUNKS, merge, epoch, stored, part, stamp_ms, came=noted.came
            )
            await write(conn, sensor.patient_id, epoch_no, epoch, merged)
            await _note_rivals(conn, sensor, merged, stamp_ms)
            outcome.accepted.update(merged.accepted)
            outcome.hidden.update(merged.hidden)
            outcome.rivals.update(merged.rivals & merged.accepted)
        if sensor.beside_import and counting:
            await give_way(conn, sensor, counting, stamp_ms, delay_ms)
    return outcome


def _routed(
    epochs: Sequence[NumberedEpoch], readings: Iterable[Reading], outcome: Outcome
) -> Iterable[tuple[NumberedEpoch, list[Reading]]]:
    """Each epoch with its readings; readings that belong to none go into `outcome`."""
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


async def _apply_former_acts(
    conn: asyncpg.Connection, sensor: Sensor, readings: Sequence[Reading], stamp_ms: int, outcome: Outcome
) -> Noted:
    """Put into `outcome` the readings that were taken back, and those that a correction replaces.

    Returns what is noted about their instants.
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
    """Remember the order of arrival of different values of one instant, and how many there are beyond those kept."""
    kept, left_out = merged.rivals - merged.left_out, merged.left_out
    for rivals in (kept - merged.accepted, kept & merged.accepted):
        await note_rivals(conn, sensor.patient_id, sensor.sensor_no, sorted(rivals), stamp_ms)
    await leave_out(conn, sensor.patient_id, sensor.sensor_no, {time for time, _ in left_out}, left_out)


async def _all_stored(pool: asyncpg.Pool, sensor: Sensor, readings: Sequence[Reading]) -> bool:
    """True for a repeated upload, which then takes no locks and writes nothing. Nothing that is stored is taken back.

    The first upload may have got no answer because a standby did not have it yet, so this one waits for the standby.
    """
    found = (await readings_between(pool, sensor, readings[0][0], readings[-1][0])).issuperset(readings)
    if found:
        await wait_for_standby(pool)
    return found
