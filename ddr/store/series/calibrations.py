"""Calibration events of a sensor, and the epochs that follow from them: DeviceMetrics, series, measurements.

Everything happens in the caller's transaction, which holds the lock of the patient
(ddr.store.database.stamps.lock_patient); `now_ms` is its timestamp.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from ddr.fhir.representation import exact_json, exact_value
from ddr.series.calibration import Event, Segment, segments
from ddr.store.database.pool import Connection, Row
from ddr.store.database.stamps import moved
from ddr.store.devices import devices as store
from ddr.store.devices.appearance import epochs_appeared
from ddr.store.measurements import measurements
from ddr.store.series.anew import begin, begins_anew, emptied, falls_out
from ddr.store.series.chunks import lock_epoch_rows
from ddr.store.series.recut import Piece, recut_series

NOT_YET = 2**63 - 1  # sensor.shown_from_ms of a sensor that is not calibrated yet

_REGISTER = "UPDATE sensor SET registration = $3 WHERE patient_id = $1 AND sensor_no = $2"
_SHOWN_FROM = "UPDATE sensor SET shown_from_ms = $3 WHERE patient_id = $1 AND sensor_no = $2"
# created_ms: what is missing in them is expected from now on, because nothing of them was shown to anybody before.
_APPEARED = """
    UPDATE epoch SET created_ms = $5
     WHERE patient_id = $1 AND sensor_no = $2 AND from_ms >= $3 AND from_ms < $4 RETURNING epoch_no"""
_CHUNKS_APPEARED = f"""
    UPDATE chunk SET updated_ms = {moved("updated_ms", "$3")} WHERE patient_id = $1 AND epoch_no = ANY($2::bigint[])"""  # noqa: S608


async def events_of(conn: Connection, patient_id: UUID, sensor_no: int) -> list[Event]:
    """The stored events of a sensor in order of time, without its registration."""
    rows = await conn.fetch(
        """SELECT time_ms, state, type, time AS text FROM calibration
            WHERE patient_id = $1 AND sensor_no = $2 ORDER BY time_ms""",
        patient_id, sensor_no,
    )  # fmt: skip
    return [Event(*row) for row in rows]


async def insert_events(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, events: Sequence[Event], now_ms: int
) -> None:
    """Store new events."""
    await conn.executemany(
        """INSERT INTO calibration (patient_id, sensor_no, time_ms, state, type, time, created_ms)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        [(patient_id, sensor_no, event.time_ms, event.state, event.type, event.text, now_ms) for event in events],
    )


async def take_back(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, time_ms: int, now_ms: int) -> bool:
    """Take back the event of this instant; False when there is none."""
    found = await conn.fetchval(
        """WITH gone AS (DELETE FROM calibration WHERE patient_id = $1 AND sensor_no = $2 AND time_ms = $3
                         RETURNING sensor_no, time_ms, state, type, time)
           INSERT INTO withdrawn_calibration (patient_id, sensor_no, time_ms, state, type, time, deleted_ms)
           SELECT $1, sensor_no, time_ms, state, type, time, $4 FROM gone
               ON CONFLICT (patient_id, sensor_no, time_ms, state) DO UPDATE SET deleted_ms = excluded.deleted_ms
           RETURNING true""",
        patient_id, sensor_no, time_ms, now_ms,
    )  # fmt: skip
    return bool(found)


async def taken_back(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int) -> set[tuple[int, str]]:
    """Time and state of the events that were taken back."""
    rows = await conn.fetch(
        "SELECT time_ms, state FROM withdrawn_calibration WHERE patient_id = $1 AND sensor_no = $2",
        patient_id, sensor_no,
    )  # fmt: skip
    return {(row["time_ms"], row["state"]) for row in rows}


def registered(sensor: Row) -> Event:
    """The calibration with which a sensor was registered, as an event at its start."""
    first = sensor["registration"]["calibration"]
    return Event(sensor["started_ms"], first["state"], first.get("type"), first.get("time"))


async def register(conn: asyncpg.Connection, sensor: Row, first: dict[str, Any]) -> Row:
    """Give the sensor another calibration at its start; `apply_events` then adapts its epochs. Returns the sensor."""
    registration = sensor["registration"] | {"calibration": first}
    await conn.execute(_REGISTER, sensor["patient_id"], sensor["sensor_no"], registration)
    return {**sensor, "registration": registration}


async def withhold(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int) -> None:
    """Show nothing of a sensor until `show_from` says from when on to show it."""
    await conn.execute(_SHOWN_FROM, patient_id, sensor_no, NOT_YET)


async def show_from(conn: asyncpg.Connection, sensor: Row, from_ms: int, now_ms: int) -> None:
    """Show those epochs of a withheld sensor that begin at `from_ms` or later.

    To a DiGA, those that were stored before are new: searches by lastUpdated find them.
    """
    patient_id, sensor_no = sensor["patient_id"], sensor["sensor_no"]
    await conn.execute(_SHOWN_FROM, patient_id, sensor_no, from_ms)
    shown = await conn.fetch(_APPEARED, patient_id, sensor_no, from_ms, sensor["shown_from_ms"], now_ms)
    await epochs_appeared(conn, patient_id, [row["epoch_no"] for row in shown])
    await conn.execute(_CHUNKS_APPEARED, patient_id, [row["epoch_no"] for row in shown], now_ms)


async def apply_events(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, now_ms: int, delay_ms: int, floor_ms: int
) -> None:
    """Make the epochs of a calibrated sensor those of its stored events, and cut the stored readings anew.

    `delay_ms` as for ddr.store.series.merging.merge_readings, `floor_ms` as for ddr.store.series.anew.begins_anew.
    """
    rows = await lock_epoch_rows(conn, patient_id, sensor_no)
    events = await events_of(conn, patient_id, sensor_no)
    parts = segments([registered(rows[0]), *events], rows[0]["sensor_ended_ms"])
    pieces = [await _piece(conn, rows, part, now_ms, floor_ms) for part in parts]
    kept = {piece.row["epoch_no"] for piece in pieces}
    left = [row for row in rows if row["epoch_no"] not in kept]
    for row in left:
        await store.withdraw_epoch(conn, row, now_ms)
    if rows[0]["continuous"]:
        moved = [piece for piece in pieces if piece.former is None or _bounds(piece.former) != _bounds(piece.row)]
        await recut_series(conn, [*moved, *map(emptied, left)], now_ms, delay_ms)
    else:
        await _repoint(conn, patient_id, pieces, [row["epoch_no"] for row in left], now_ms)


def _bounds(row: Row) -> tuple[int, int | None]:
    return row["from_ms"], row["until_ms"]


async def _piece(conn: asyncpg.Connection, rows: Sequence[Row], part: Segment, now_ms: int, floor_ms: int) -> Piece:
    """Store the epoch of a segment: the first one that began within the segment, or else a new one.

    At most one began there, unless an event was taken back. The others, and one that a new epoch replaces, have nothing
    left.
    """
    starts = [row["from_ms"] for row in rows]
    at = bisect_left(starts, part.from_ms)
    within = at < len(rows) and (part.until_ms is None or starts[at] < part.until_ms)
    row = rows[at] if within else rows[max(at - 1, 0)]
    changed = {
        **row,
        "from_ms": part.from_ms,
        "until_ms": part.until_ms,
        "calibration_state": part.last.state,
        "calibration_type": part.last.type,
        "calibration_time": part.last.text,
    }
    if not within or await begins_anew(conn, row, part.from_ms, floor_ms):
        return await begin(conn, changed, now_ms)
    if await falls_out(conn, row, part.until_ms, floor_ms):
        return await begin(conn, changed, now_ms)
    await store.change_epoch(conn, row, changed, now_ms)
    return Piece(changed, row)


async def _repoint(
    conn: asyncpg.Connection, patient_id: UUID, pieces: Sequence[Piece], left: Sequence[int], now_ms: int
) -> None:
    """Let dedicated measurements refer to the epoch of their time; those whose reference changes get a new version.

    `left` are the numbers of epochs that have nothing left.
    """
    starts = [piece.row["from_ms"] for piece in pieces]
    numbers = [piece.row["epoch_no"] for piece in pieces]
    found = await measurements.of_epochs(conn, patient_id, [*numbers, *left])
    right = [(row, numbers[bisect_right(starts, row["effective_ms"]) - 1]) for row in found]
    moved = [_moved(row, number) for row, number in right if row["epoch_no"] != number]
    await measurements.revise(conn, patient_id, moved, now_ms)
    await epochs_appeared(conn, patient_id, {row["epoch_no"] for row in moved})


def _moved(row: Row, epoch_no: int) -> Row:
    """The measurement with another DeviceMetric; if it was final, it is now amended."""
    status = "amended" if row["status"] == "final" else row["status"]
    content = exact_json(exact_value(row["content"]) | {"status": status})
    return {**row, "epoch_no": epoch_no, "status": status, "content": content}
