"""Appends readings to the end of a series by one statement, which changes only a chunk that is as expected.

Nearly every upload is an append. Readings that are not new, or not at the end, are merged (ddr.store.series.merging).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ddr.series.packing import Reading
from ddr.series.tail import extended
from ddr.store.database.each_there import Statement, each_there
from ddr.store.database.pool import Connection
from ddr.store.database.spreading import is_spread
from ddr.store.database.stamps import moved, stamp
from ddr.store.series.sensors import Sensor

HEARD_STEP_MS = 60_000  # the precision of Device.heard_ms; its users think in the minutes of Delay-From-Real-Time

# The row of the patient is locked first, so that the patient's timestamps are in the order of commits.
_STAMPED = f"stamped AS (UPDATE patient SET stamp_ms = {stamp('$13')} WHERE patient_id = $1 RETURNING stamp_ms)"  # noqa: S608

# The length of vals detects what the version cannot: a reading that is stored but not shown does not change the
# version. So does the time of the last change: a standby that was promoted without its last seconds counts the same
# versions again, with other readings. A chunk that was final by time before this timestamp may have been shown as
# final.
_APPENDED = f"""
    UPDATE chunk SET times = substring(times FROM 1 FOR $6) || $7, vals = vals || $8, last_ms = $9, filled = $10,
                     status = $11, version = version + 1, updated_ms = {moved("updated_ms", "stamped.stamp_ms")}
      FROM stamped
     WHERE patient_id = $1 AND epoch_no = $2 AND k = $3 AND version = $4 AND octet_length(vals) = $5
       AND updated_ms = $16 AND terms = $15 AND stamped.stamp_ms <= $14
    RETURNING updated_ms, $12::bigint AS heard_ms"""  # noqa: S608

APPEND = f"WITH {_STAMPED} {_APPENDED}"

# A sign of life is not worth waiting for when another upload holds the row of the device.
_APPEND_AND_HEAR = f"""
    WITH {_STAMPED}, appended AS ({_APPENDED}),
         heard AS (UPDATE device SET heard_ms = $12 WHERE patient_id = $1 AND device_no IN (
                       SELECT device_no FROM device WHERE patient_id = $1 AND device_no = $17 AND heard_ms < $12
                          AND EXISTS (SELECT FROM appended) FOR NO KEY UPDATE SKIP LOCKED))
    SELECT updated_ms FROM appended"""  # noqa: S608

# The statements as run where patients are spread (ddr.store.database.each_there).
_THERE = {
    APPEND: f"WITH {_STAMPED}, appended AS ({_APPENDED}) SELECT ARRAY[updated_ms::text] FROM appended",  # noqa: S608
    _APPEND_AND_HEAR: _APPEND_AND_HEAR.replace("SELECT updated_ms FROM", "SELECT ARRAY[updated_ms::text] FROM"),
}


async def append(
    pool: Connection, sensor: Sensor, readings: Sequence[Reading], now_ms: int, steered_ms: int | None = None
) -> Sensor | None:
    """Append ascending `readings` to the tail of `sensor` in one statement. Returns the sensor as it is afterwards.

    None, and nothing was written, when they do not all come after what is stored, or when the tail has changed.
    `now_ms` is the worker's clock, `steered_ms` as for ddr.store.database.stamps.lock_patient.
    """
    tail = sensor.tail
    extension = extended(tail, readings, now_ms) if tail else None
    if tail is None or extension is None:
        return None
    after, heard_ms = extension.after, sensor.heard_ms
    arguments: tuple[object, ...] = (
        sensor.patient_id, sensor.epoch_no, tail.k, tail.version, 2 * tail.count, extension.keep, extension.times,
        extension.vals, after.last_ms, after.filled, extension.status, now_ms, steered_ms,
        tail.epoch.settles(tail.start_ms), tail.terms, tail.updated_ms,
    )  # fmt: skip
    text = APPEND
    if now_ms - heard_ms >= HEARD_STEP_MS:
        text, heard_ms, arguments = _APPEND_AND_HEAR, now_ms, (*arguments, sensor.device_no)
    if is_spread(pool):
        (written,) = await each_there(pool, sensor.patient_id, [Statement(_THERE[text], arguments, packed=True)])
        updated_ms = int(written[0]["packed"][0]) if written else None
    else:
        updated_ms = await pool.fetchval(text, *arguments)
    if updated_ms is None:
        return None
    return replace(sensor, tail=replace(after, updated_ms=updated_ms), heard_ms=heard_ms)
