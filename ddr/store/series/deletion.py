"""Takes back an upload that was made in error."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ddr.series.grid import Grid
from ddr.store.series.chunks import lock_epoch_rows
from ddr.store.series.claims import withdraw
from ddr.store.series.recut import pieces_at, recut_series
from ddr.store.series.uploads import taken_back

_DELETE = """
    UPDATE upload SET deleted_ms = $4
     WHERE patient_id = $1 AND sensor_no = $2 AND upload_key = $3 AND deleted_ms IS NULL RETURNING times, vals"""

_KNOWN = "SELECT EXISTS (SELECT FROM upload WHERE patient_id = $1 AND sensor_no = $2 AND upload_key = $3)"


async def delete_upload(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, key: str, now_ms: int, delay_ms: int
) -> bool:
    """Take back the upload `key`; False when there is none. Repeating it changes nothing.

    `delay_ms` is as for merge_readings.
    """
    rows = await lock_epoch_rows(conn, patient_id, sensor_no)
    upload = await conn.fetchrow(_DELETE, patient_id, sensor_no, key, now_ms)
    if upload is None:
        known: bool = await conn.fetchval(_KNOWN, patient_id, sensor_no, key)
        return known
    if upload["times"]:
        gone = await taken_back(conn, patient_id, sensor_no, upload["times"][0], upload["times"][-1])
        own = gone.intersection(zip(upload["times"], upload["vals"], strict=True))
        instants = {time for time, _ in own}
        gone = {reading for reading in gone if reading[0] in instants}  # including those that were taken back before
        change = await withdraw(conn, patient_id, sensor_no, gone, now_ms)
        grids = [Grid.of(row) for row in rows]
        added = {reading for reading in change.added if any(grid.holds(reading[0]) for grid in grids)}
        await recut_series(conn, pieces_at(rows, instants), now_ms, delay_ms, gone | change.removed, added)
    return True
