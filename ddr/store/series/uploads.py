"""Uploads with a key, and which readings were taken back; used in a transaction that holds the lock of the sensor.

A reading is taken back when an upload that contains it was deleted and no other upload with a key contains it. So what
counts depends only on the set of uploads and deletions, never on their order.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import asyncpg

from ddr.aside import Breath
from ddr.series.packing import ERROR, HIGH, LOW, Reading
from ddr.series.reading import Rules

FIRST_MS, LAST_MS = "times[1]", "times[array_upper(times, 1)]"
"""SQL: from when until when the readings of an upload are, as the indexes by time say (migration 0118)."""

BY_TIME = "sensor_no + 0"
"""SQL: the sensor, in statements that ask by time; those that ask for a key use sensor_no (migration 0127)."""

_OF_THIS_TIME = f"patient_id = $1 AND {BY_TIME} = $2 AND {LAST_MS} >= $3 AND {FIRST_MS} <= $4"

_TAKEN_BACK = f"""
    SELECT time, raw FROM upload, unnest(times, vals) AS reading (time, raw)
     WHERE {_OF_THIS_TIME} AND time BETWEEN $3 AND $4
       AND EXISTS (SELECT FROM upload WHERE {_OF_THIS_TIME} AND deleted_ms IS NOT NULL)
     GROUP BY time, raw HAVING bool_and(deleted_ms IS NOT NULL)"""  # noqa: S608 - texts of ours

_TOGETHER = 200
_BEYOND = """
    SELECT upload_key, times, vals FROM upload
     WHERE patient_id = $1 AND sensor_no = $2 AND upload_key > $3
       AND EXISTS (SELECT FROM unnest(vals) AS raw WHERE raw <> ALL ($4::integer[])
                      AND (raw < $5::integer OR raw > $6::integer))
     ORDER BY upload_key LIMIT $7"""
_CHANGE = "UPDATE upload SET times = $4, vals = $5 WHERE patient_id = $1 AND sensor_no = $2 AND upload_key = $3"


class UploadDeleted(Exception):
    """The upload with this key was deleted."""


async def note_upload(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, key: str, readings: Collection[Reading], now_ms: int
) -> None:
    """Add `readings` to the upload `key`. Raises UploadDeleted."""
    row = await conn.fetchrow(
        "SELECT times, vals, deleted_ms FROM upload WHERE patient_id = $1 AND sensor_no = $2 AND upload_key = $3",
        patient_id, sensor_no, key,
    )  # fmt: skip
    if row is not None and row["deleted_ms"] is not None:
        raise UploadDeleted
    known = set(zip(row["times"], row["vals"], strict=True)) if row else set()
    if row is None or not known.issuperset(readings):
        together = sorted(known.union(readings))
        await conn.execute(
            """INSERT INTO upload (patient_id, sensor_no, upload_key, times, vals, created_ms)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (patient_id, sensor_no, upload_key) DO UPDATE
              SET times = excluded.times, vals = excluded.vals""",
            patient_id, sensor_no, key, [time for time, _ in together], [raw for _, raw in together], now_ms,
        )  # fmt: skip


async def taken_back(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, from_ms: int, until_ms: int
) -> set[Reading]:
    """The readings from `from_ms` to `until_ms` that no longer count, and would not count if they came again.

    Most sensors have none, and may have uploads of many years. So only uploads with readings of this time are read, and
    only when one of them was deleted.
    """
    rows = await conn.fetch(_TAKEN_BACK, patient_id, sensor_no, from_ms, until_ms)
    return {(row["time"], row["raw"]) for row in rows}


async def keep_within(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, rules: Rules) -> None:
    """Turn values beyond the limits of `rules` into LOW and HIGH.

    A sensor may have uploads of many years: only those that change are loaded, in batches.
    """
    breath, after, limits = Breath(), "", (rules.lowest, rules.highest)
    while rows := await conn.fetch(_BEYOND, patient_id, sensor_no, after, [LOW, ERROR, HIGH], *limits, _TOGETHER):
        changed = []
        for row in rows:
            within = {(time, rules.within(raw)) for time, raw in zip(row["times"], row["vals"], strict=True)}
            times, raws = zip(*sorted(within), strict=True)
            changed.append((patient_id, sensor_no, row["upload_key"], times, raws))
            await breath.take()
        await conn.executemany(_CHANGE, changed)
        after = rows[-1]["upload_key"]
