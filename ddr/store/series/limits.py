"""A sensor's limits become known after its registration: what is shown of it says them from now on."""

from __future__ import annotations

from typing import Any

import asyncpg

from ddr.series.epoch import Epoch
from ddr.series.resettle import restated
from ddr.store.devices.devices import Row
from ddr.store.series.chunks import lock_epoch_rows, write
from ddr.store.series.recut import chunks_of

_LIMITS = """
    UPDATE sensor SET lower_limit = $3, upper_limit = $4, registration = $5
     WHERE patient_id = $1 AND sensor_no = $2"""


async def add_limits(
    conn: asyncpg.Connection, sensor: Row, registration: dict[str, Any], columns: Row, now_ms: int, delay_ms: int
) -> None:
    """Note the limits in `columns` and make new versions of the chunks, in the caller's transaction.

    `registration` is that of the sensor with its limits; `delay_ms` as for merge_readings.
    """
    patient_id, sensor_no = sensor["patient_id"], sensor["sensor_no"]
    rows = await lock_epoch_rows(conn, patient_id, sensor_no)
    stored = await chunks_of(conn, patient_id, [row["epoch_no"] for row in rows])
    await conn.execute(_LIMITS, patient_id, sensor_no, columns["lower_limit"], columns["upper_limit"], registration)
    for row in rows:
        number, epoch = row["epoch_no"], Epoch.of(row, delay_ms)
        await write(conn, patient_id, number, epoch, restated(epoch, stored.get(number, ()), now_ms))
