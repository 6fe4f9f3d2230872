"""When the start of a series moves back far before the historic period, a new epoch replaces the former one.

Chunks are numbered from the start of their epoch, and ids are made of these numbers. If the epoch kept its chunks, an
id that DiGA know would name a chunk from before the period, which is shown to nobody: no DiGA would learn that the
values now have another id. If the start moves by less, the ids stay with their chunks. The same holds when a
calibration ends a series earlier, before the period, and a chunk that reached into it then does not. It does not hold
for the end of a sensor, after which there are no values that could have moved.
"""

from __future__ import annotations

import asyncpg

from ddr.series.status import WITHDRAWN
from ddr.store.database.pool import Row
from ddr.store.devices import devices as store
from ddr.store.series.recut import Piece

MOST_WITHDRAWN = 100  # epochs of a sensor; beyond it, an app that keeps moving the start changes the last epoch instead

_STORED = f"""
    SELECT min(k) AS first_k, min(start_ms) FILTER (WHERE status <> '{WITHDRAWN}' AND start_ms > $4) AS start_ms,
           (SELECT count(*) FROM epoch WHERE patient_id = $1 AND sensor_no = $2 AND withdrawn) AS withdrawn
      FROM chunk WHERE patient_id = $1 AND epoch_no = $3"""  # noqa: S608

_REACHES = f"""
    SELECT EXISTS (SELECT FROM chunk WHERE patient_id = $1 AND epoch_no = $2 AND status <> '{WITHDRAWN}'
                      AND start_ms > $3 AND start_ms < $4)"""  # noqa: S608


async def begins_anew(conn: asyncpg.Connection, row: Row, from_ms: int, floor_ms: int) -> bool:
    """Whether an epoch (a row of chunks.lock_epoch_rows) that is to begin at `from_ms` must be replaced by a new one.

    `floor_ms` is where the historic period begins. The chunks move with the start, by up to a sampling period more or
    less; they do not move when the first chunks were deleted (ddr.series.recut).
    """
    if not row["continuous"] or row["tail_k"] is None or from_ms >= min(row["from_ms"], floor_ms):
        return False
    key = row["patient_id"], row["sensor_no"], row["epoch_no"]
    found = await conn.fetchrow(_STORED, *key, floor_ms - row["span_ms"])
    if found["first_k"] != 0 or found["start_ms"] is None or found["withdrawn"] >= MOST_WITHDRAWN:
        return False
    left_ms: int = found["start_ms"] + row["span_ms"] - (row["from_ms"] - from_ms) - floor_ms
    return left_ms <= int(row["period_ms"])


async def falls_out(conn: asyncpg.Connection, row: Row, until_ms: int | None, floor_ms: int) -> bool:
    """Whether a chunk of an epoch that is now to end at `until_ms` would end before the historic period, into which it
    reaches. Then, too, the epoch must be replaced by a new one."""
    if not row["continuous"] or until_ms is None or until_ms > floor_ms:
        return False
    if row["until_ms"] is not None and row["until_ms"] <= floor_ms:
        return False
    key = row["patient_id"], row["epoch_no"]
    return bool(await conn.fetchval(_REACHES, *key, floor_ms - row["span_ms"], until_ms))


async def begin(conn: asyncpg.Connection, row: Row, now_ms: int) -> Piece:
    """Store the epoch in `row`, a changed row of chunks.lock_epoch_rows, as a new epoch."""
    number = await store.insert_epoch(conn, row["patient_id"], row["device_no"], row["sensor_no"], row, now_ms)
    return Piece({**row, "epoch_no": number, "tail_k": None, "tail_start_ms": None}, None)


def emptied(row: Row) -> Piece:
    """The piece of a withdrawn epoch: it has no readings left."""
    return Piece({**row, "until_ms": row["from_ms"]}, row)
