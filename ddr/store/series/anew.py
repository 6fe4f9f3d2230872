"""A series whose start moves to before the historic period begins anew: a new epoch holds what the former one held.

Chunks are numbered from the start. Under the former ids would be what lies before the period, which nobody is shown, so
that whoever knows them would never learn that their values are under other ids now.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from ddr.store.devices import devices as store
from ddr.store.devices.devices import Row
from ddr.store.series.recut import Piece

MOST_WITHDRAWN = 100  # epochs of a sensor; an app that moves the start without end changes the last one

_WITHDRAWN = "SELECT count(*) FROM epoch WHERE patient_id = $1 AND sensor_no = $2 AND withdrawn"


async def begins_anew(conn: asyncpg.Connection, row: Row, from_ms: int, floor_ms: int) -> bool:
    """Whether an epoch (a row of chunks.lock_epoch_rows) that is to begin at `from_ms` has to be another one.

    `floor_ms` is where the historic period begins.
    """
    if not row["continuous"] or row["tail_k"] is None or from_ms >= min(row["from_ms"], floor_ms):
        return False
    count: int = await conn.fetchval(_WITHDRAWN, row["patient_id"], row["sensor_no"])
    return count < MOST_WITHDRAWN


async def begin(conn: asyncpg.Connection, found: dict[str, Any], now_ms: int) -> Piece:
    """Store the epoch `found`, a changed row of chunks.lock_epoch_rows, as a new one."""
    number = await store.insert_epoch(conn, found["patient_id"], found["device_no"], found["sensor_no"], found, now_ms)
    return Piece({**found, "epoch_no": number, "tail_k": None, "tail_start_ms": None}, None)


def emptied(row: Row) -> Piece:
    """What an epoch has left that was withdrawn: nothing."""
    return Piece({**row, "until_ms": row["from_ms"]}, row)
