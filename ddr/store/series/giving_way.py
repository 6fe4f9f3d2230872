"""Where an app sends readings of a sensor that were already imported, the imported values give way to the app's.

An export cuts times to the minute, so the same reading would be stored twice: under the import's own registration of
the device and under the app's. The imported values stay where the app has none. docs/imports.md explains it to users.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg

from ddr.imports.calls import KEY
from ddr.series.packing import Reading
from ddr.store.devices.devices import OF_IMPORT
from ddr.store.series.chunks import lock_epoch_rows, readings_between
from ddr.store.series.recut import pieces_at, recut_series
from ddr.store.series.sensors import Sensor

# `s` is a sensor of an app's device `d`, `o` a sensor of the same device and kind that an import registered.
_SAME = f"""
    FROM device d
    JOIN device i ON i.patient_id = $1 AND {OF_IMPORT}
    JOIN sensor o ON o.patient_id = $1 AND o.device_no = i.device_no AND o.continuous
   WHERE d.patient_id = $1 AND d.device_no = s.device_no AND d.device_key NOT LIKE '{KEY}%'
     AND s.continuous AND o.miv_url = s.miv_url"""

_NOTE = f"""
    UPDATE sensor s SET beside_import = true
     WHERE s.patient_id = $1 AND NOT s.beside_import AND EXISTS (SELECT {_SAME})"""  # noqa: S608

_BESIDE = f"""
    SELECT n.sensor_no FROM sensor s, LATERAL (SELECT o.sensor_no {_SAME}) n
     WHERE s.patient_id = $1 AND s.sensor_no = $2 ORDER BY n.sensor_no"""  # noqa: S608


async def note_beside(conn: asyncpg.Connection, patient_id: UUID) -> None:
    """Mark the apps' sensors whose device has an imported sensor of the same kind (Sensor.beside_import)."""
    await conn.execute(_NOTE, patient_id)


async def give_way(
    conn: asyncpg.Connection, sensor: Sensor, readings: Sequence[Reading], now_ms: int, delay_ms: int
) -> None:
    """Remove from the imported series what they have at the instants of `readings`, which ascend.

    Instants are the same when they are at most half a sampling period apart, as for an import beside an app
    (ddr.imports.sending). The caller has stored the readings in this transaction and holds the lock of the patient.
    """
    for row in await conn.fetch(_BESIDE, sensor.patient_id, sensor.sensor_no):
        number = row["sensor_no"]
        epochs = await lock_epoch_rows(conn, sensor.patient_id, number)
        if not epochs:
            continue
        half = epochs[0]["period_ms"] // 2
        from_ms, until_ms = readings[0][0] - half, readings[-1][0] + half
        imported = await readings_between(conn, replace(sensor, sensor_no=number), from_ms, until_ms)
        if imported:
            own = await readings_between(conn, sensor, from_ms - half, until_ms + half)
            gone = doubled(imported, (time for time, _ in own), half)
            await recut_series(conn, pieces_at(epochs, [time for time, _ in gone]), now_ms, delay_ms, gone)


def doubled(imported: Iterable[Reading], times: Iterable[int], half_ms: int) -> set[Reading]:
    """Those of `imported` that lie within `half_ms` of one of `times`."""
    known = sorted(times)
    found = set()
    for reading in imported:
        at = bisect_left(known, reading[0] - half_ms)
        if at < len(known) and known[at] <= reading[0] + half_ms:
            found.add(reading)
    return found
