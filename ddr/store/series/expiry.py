"""A device's expiration is corrected: what DiGA were shown of its series stays, and what follows is a new version."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import asyncpg

from ddr.series.epoch import Epoch
from ddr.series.resettle import resettled
from ddr.store.database.pool import Row
from ddr.store.series.chunks import change_terms, lock_epoch_rows, write
from ddr.store.series.recut import chunks_of

_SENSORS = "SELECT sensor_no, miv_url FROM sensor WHERE patient_id = $1 AND device_no = $2 AND continuous"


async def change_expiration(
    conn: asyncpg.Connection, device: Row, expiration_ms: int | None, now_ms: int, delay_ms: Callable[[str], int]
) -> None:
    """Within the caller's transaction, which then stores the expiration: settle the chunks of `device` for it.

    `device` is the row before the change; `delay_ms` gives the Delay-From-Real-Time of a MIV by its ValueSet.
    """
    patient_id: UUID = device["patient_id"]
    for sensor in await conn.fetch(_SENSORS, patient_id, device["device_no"]):
        rows = await lock_epoch_rows(conn, patient_id, sensor["sensor_no"])
        numbers = [row["epoch_no"] for row in rows]
        stored = await chunks_of(conn, patient_id, numbers)
        for row in rows:
            number, delay = row["epoch_no"], delay_ms(sensor["miv_url"])
            epoch, former = (
                Epoch.of({**row, "expiration_ms": ms}, delay) for ms in (expiration_ms, row["expiration_ms"])
            )
            await write(conn, patient_id, number, epoch, resettled(epoch, former, stored.get(number, ()), now_ms))
        await change_terms(conn, patient_id, numbers)
