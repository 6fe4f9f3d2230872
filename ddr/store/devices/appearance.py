"""Devices and DeviceMetrics become visible with their first Observation (SCO-006): new to a poll, however old they are.

What appears gets the timestamp of the transaction that shows it, so that searches by `_lastUpdated` find it (RS-036).
All of it happens in a transaction that holds the lock of the patient (ddr.store.database.stamps).
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS
from ddr.series.epoch import Epoch
from ddr.store.database.stamps import moved

# No Historic-Data-Period is shorter: whoever may see a series at all sees what it measured within the last day.
SURELY_SEEN_MS = DAY_MS

_STAMP = "(SELECT stamp_ms FROM patient WHERE patient_id = $1)"


def _appeared(which: str) -> str:
    """SQL: gives a new timestamp to those epochs of the patient for which `which` holds, and to their devices."""
    return f"""
    WITH shown AS (
        UPDATE epoch SET updated_ms = {moved("updated_ms", _STAMP)} WHERE patient_id = $1 AND {which}
        RETURNING device_no)
    UPDATE device SET updated_ms = {moved("updated_ms", _STAMP)}
     WHERE patient_id = $1 AND device_no IN (SELECT device_no FROM shown)"""  # noqa: S608


# A series without anything from the last day may have left the period, or may never have been within it.
_SERIES = _appeared(f"epoch_no = $2 AND ($3::bigint IS NULL OR $3 < {_STAMP} - {SURELY_SEEN_MS})")
_EPOCHS = _appeared("epoch_no = ANY($2::bigint[])")


async def series_appeared(conn: asyncpg.Connection, patient_id: UUID, epoch_no: int, former: Epoch) -> None:
    """A series got a new last chunk; `former` is the epoch as it was before."""
    end_ms = None if former.tail_start_ms is None else former.end(former.tail_start_ms)
    await conn.execute(_SERIES, patient_id, epoch_no, end_ms)


async def epochs_appeared(conn: asyncpg.Connection, patient_id: UUID, epoch_nos: Collection[int]) -> None:
    """The DeviceMetrics of these epochs, and their Devices, are shown now and were not before."""
    if epoch_nos:
        await conn.execute(_EPOCHS, patient_id, list(epoch_nos))
