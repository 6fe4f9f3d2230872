"""The end of the wait for readings: the gateway's "everything sent up to T", and the end of a sensor."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ddr.series.epoch import Epoch
from ddr.series.grid import SECOND, whole_second
from ddr.series.merge import merge
from ddr.store.database.stamps import lock_patient, moved
from ddr.store.devices.devices import note_heard
from ddr.store.series.chunks import NumberedEpoch, as_epochs, last_chunks, lock_epoch_rows, write
from ddr.store.series.recut import Piece, UnplacedReadings, recut_series
from ddr.store.series.sensors import Sensor

_SENT = """
    UPDATE sensor SET complete_until_ms = greatest(complete_until_ms, $3)
     WHERE patient_id = $1 AND sensor_no = $2 RETURNING complete_until_ms"""

# Chunks that are already final by time do not change.
_FINISH = f"""
    UPDATE chunk SET status = 'f', version = version + 1, updated_ms = {moved("updated_ms", "$5")}
     WHERE patient_id = $1 AND epoch_no = $2 AND status = 'p' AND start_ms <= $3 AND start_ms >= $4
       AND NOT (start_ms >= $6 AND start_ms < $7)"""  # noqa: S608


_UNTIL = "UPDATE epoch SET until_ms = $3 WHERE patient_id = $1 AND epoch_no = $2"


_EVENT_AFTER = "SELECT EXISTS (SELECT FROM calibration WHERE patient_id = $1 AND sensor_no = $2 AND time_ms >= $3)"


class ReadingsAfterEnd(Exception):
    """A sensor cannot have ended before its last stored reading or calibration."""


async def complete_until(
    pool: asyncpg.Pool, sensor: Sensor, until_ms: int, delay_ms: int, steered_ms: int | None = None
) -> int | None:
    """Note that everything up to `until_ms` has been sent: chunks that end by then become final.

    Returns the latest instant ever noted, or None when the sensor is gone. `delay_ms` and `steered_ms` are as for
    `merge_readings`.
    """
    async with pool.acquire() as conn, conn.transaction():
        now_ms = await lock_patient(conn, sensor.patient_id, steered_ms)
        if now_ms is None:
            return None
        await note_heard(conn, sensor.patient_id, [sensor.device_no], now_ms)
        sent: int | None = await conn.fetchval(_SENT, sensor.patient_id, sensor.sensor_no, until_ms)
        rows = await lock_epoch_rows(conn, sensor.patient_id, sensor.sensor_no)
        for numbered in as_epochs(rows, delay_ms):
            await _finish(conn, sensor.patient_id, numbered, now_ms)
    return sent


async def _finish(conn: asyncpg.Connection, patient_id: UUID, numbered: NumberedEpoch, now_ms: int) -> None:
    epoch_no, epoch = numbered
    length = epoch.grid.span_ms - SECOND
    sent = (epoch.complete_until_ms or 0) - length  # the last start of a chunk that ends by then
    settled = now_ms - epoch.buffering_ms - length  # chunks that start before this are final by time
    expired = _expired(epoch, now_ms)  # and so are those that start between these
    await conn.execute(_FINISH, patient_id, epoch_no, sent, settled, now_ms, *expired)
    await _cover(conn, patient_id, numbered, now_ms, sent + 1)


def _expired(epoch: Epoch, now_ms: int) -> tuple[int, int]:
    """Between which instants chunks start that are final because their device expired (ddr.series.status.settles)."""
    if epoch.expires_ms is None or epoch.expires_ms >= now_ms:
        return 0, 0
    return whole_second(epoch.expires_ms) - epoch.grid.span_ms, epoch.expires_ms


async def _cover(
    conn: asyncpg.Connection, patient_id: UUID, numbered: NumberedEpoch, now_ms: int, cover_ms: int
) -> None:
    """Store the empty chunks that start before `cover_ms`, if readings were expected in them."""
    epoch_no, epoch = numbered
    cover_ms = cover_ms if epoch.expected_until_ms is None else min(cover_ms, epoch.expected_until_ms)
    next_start = epoch.next_start()[1]
    if next_start < cover_ms:
        stored = await last_chunks(conn, patient_id, epoch_no, epoch, next_start)
        await write(conn, patient_id, epoch_no, epoch, merge(epoch, stored, (), now_ms, cover_ms))


async def close_epochs(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, ended_ms: int, now_ms: int, delay_ms: int
) -> None:
    """Within the caller's transaction: end the series of a sensor at `ended_ms` (exclusive). An earlier end stays.

    The chunk at the end is cut there and becomes final, and so do missing ones before it (SER-003, SER-008, SER-017).
    Raises ReadingsAfterEnd.
    """
    pieces = []
    if await conn.fetchval(_EVENT_AFTER, patient_id, sensor_no, ended_ms):
        raise ReadingsAfterEnd
    for row in await lock_epoch_rows(conn, patient_id, sensor_no):
        until_ms = max(ended_ms, row["from_ms"])
        if row["until_ms"] is None or row["until_ms"] > until_ms:
            await conn.execute(_UNTIL, patient_id, row["epoch_no"], until_ms)
            pieces.append(Piece({**row, "until_ms": until_ms}, {**row, "device_ended_ms": None}))
    try:
        await recut_series(conn, pieces, now_ms, delay_ms)
    except UnplacedReadings:
        raise ReadingsAfterEnd from None
