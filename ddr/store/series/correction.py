"""Corrects stored readings: the newest value of an instant replaces the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg

from ddr.series.grid import Grid
from ddr.series.packing import Reading
from ddr.store.database.stamps import lock_patient
from ddr.store.devices.devices import note_heard
from ddr.store.series.chunks import lock_epoch_rows, readings_between
from ddr.store.series.claims import leave_out, note_rivals, stand
from ddr.store.series.giving_way import give_way
from ddr.store.series.merging import Outcome
from ddr.store.series.recut import pieces_at, recut_series
from ddr.store.series.sensors import Sensor, check_limits
from ddr.store.series.uploads import note_upload, taken_back

TOGETHER = 100  # readings to correct at once: the planner compares each with all claims of their span


async def correct_readings(
    pool: asyncpg.Pool,
    sensor: Sensor,
    readings: Sequence[Reading],
    steered_ms: int | None,
    delay_ms: int,
    upload_key: str | None = None,
) -> Outcome | None:
    """As ddr.store.series.merging.merge_readings, but replaces other values that are stored for these instants.

    `readings` ascend and have one value per instant. A chunk that was final is amended. Raises the same errors.
    """
    outcome, patient_id, sensor_no = Outcome(), sensor.patient_id, sensor.sensor_no
    async with pool.acquire() as conn, conn.transaction():
        stamp_ms = await lock_patient(conn, patient_id, steered_ms)
        if stamp_ms is None:
            return None
        await note_heard(conn, patient_id, [sensor.device_no], stamp_ms)
        rows = await lock_epoch_rows(conn, patient_id, sensor_no)
        if not rows:
            return None
        check_limits(sensor, rows[0])
        if upload_key is not None:
            await note_upload(conn, patient_id, sensor_no, upload_key, readings, stamp_ms)
        gone = await taken_back(conn, patient_id, sensor_no, readings[0][0], readings[-1][0])
        ordered = _storable(readings, gone, [Grid.of(row) for row in rows], outcome)
        if not ordered:
            return outcome
        new, values = set(ordered), dict(ordered)
        known = await readings_between(conn, sensor, min(values), max(values))
        before = {reading for reading in known if values.get(reading[0], reading[1]) != reading[1]}
        outcome.accepted.update(new - known)
        await note_rivals(conn, patient_id, sensor_no, sorted(before), stamp_ms)
        await note_rivals(conn, patient_id, sensor_no, ordered, stamp_ms)  # other values may come later
        for part in (ordered[at : at + TOGETHER] for at in range(0, len(ordered), TOGETHER)):
            await stand(conn, patient_id, sensor_no, part, stamp_ms, newest=True)
            await leave_out(conn, patient_id, sensor_no, [time for time, _ in part], ())
        await recut_series(conn, pieces_at(rows, values), stamp_ms, delay_ms, before, new)
        if sensor.beside_import:
            await give_way(conn, sensor, ordered, stamp_ms, delay_ms)
    return outcome


def _storable(
    readings: Sequence[Reading], gone: Collection[Reading], grids: Sequence[Grid], outcome: Outcome
) -> list[Reading]:
    """Those of ascending `readings` that lie within an epoch and were not taken back; the others go into `outcome`."""
    storable = []
    for reading in readings:
        if reading in gone:
            outcome.deleted.add(reading)
        elif any(grid.holds(reading[0]) for grid in grids):
            storable.append(reading)
        elif reading[0] < grids[0].from_ms:
            outcome.early.add(reading)
        else:
            outcome.late.add(reading)
    return storable
