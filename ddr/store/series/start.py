"""Corrects when a sensor began, in the caller's transaction, which holds the lock of the patient."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ddr.series.epoch import Epoch
from ddr.store.devices import devices as store
from ddr.store.devices.starts import move_sensor
from ddr.store.series.anew import begin, begins_anew, emptied
from ddr.store.series.chunks import lock_epoch_rows
from ddr.store.series.recut import Piece, UnplacedReadings, recut_series

_EVENT_BEFORE = "SELECT EXISTS (SELECT FROM calibration WHERE patient_id = $1 AND sensor_no = $2 AND time_ms <= $3)"

_LEARNT = "UPDATE epoch SET created_ms = $3 WHERE patient_id = $1 AND epoch_no = $2"


class KnownBefore(Exception):
    """A reading or calibration before the new start is stored."""


async def move_start(
    conn: asyncpg.Connection,
    patient_id: UUID,
    sensor_no: int,
    started_ms: int,
    now_ms: int,
    delay_ms: int,
    floor_ms: int,
) -> None:
    """Let the sensor and its first epoch begin at `started_ms`, and cut anew what is stored of a series.

    `delay_ms` and `floor_ms` are as for ddr.store.series.calibrations.apply_events. Raises KnownBefore.
    """
    rows = await lock_epoch_rows(conn, patient_id, sensor_no)
    first = rows[0]
    until_ms = first["until_ms"]
    if (until_ms is not None and until_ms <= started_ms) or await conn.fetchval(
        _EVENT_BEFORE, patient_id, sensor_no, started_ms
    ):
        raise KnownBefore
    moved = {**first, "from_ms": started_ms, "started_ms": started_ms}
    unseen = first["continuous"] and first["tail_k"] is None
    if unseen and Epoch.of(first, delay_ms).placeholder(0, now_ms) is None:
        # Nothing of it was shown to anybody: what is missing is expected from now on, and new when it is shown
        # (RS-036).
        await conn.execute(_LEARNT, patient_id, first["epoch_no"], now_ms)
        moved["registered_ms"] = now_ms
    await move_sensor(conn, patient_id, sensor_no, started_ms)
    if await begins_anew(conn, first, started_ms, floor_ms):
        await store.withdraw_epoch(conn, first, now_ms)
        pieces = [await begin(conn, moved, now_ms), emptied(first)]
    else:
        await store.change_epoch(conn, first, moved, now_ms)
        pieces = [Piece(moved, first)]
    if first["continuous"]:
        try:
            await recut_series(conn, pieces, now_ms, delay_ms)
        except UnplacedReadings:
            raise KnownBefore from None
