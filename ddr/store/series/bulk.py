"""Appends to the series of many sensors at once: the uploads of a cloud bridge, and concurrent ones.

It changes each sensor as `append` (ddr.store.series.appending) does, under the same conditions, but with one statement
and one commit for all. It waits for no lock: patients that somebody else is writing to are left out. So two such
statements cannot block each other, in whatever order they reach their rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ddr.aside import LARGE_ITEMS, aside
from ddr.series.packing import Reading
from ddr.series.tail import extended
from ddr.store.database.pool import Connection
from ddr.store.database.spreading import is_spread
from ddr.store.database.stamps import moved, stamp
from ddr.store.database.together import Way, ask
from ddr.store.series.appending import APPEND, HEARD_STEP_MS, append
from ddr.store.series.sensors import Sensor

# `w`: what to append, a row for each sensor. `locked`: the patients that nobody else is writing to; their rows come
# first (ddr.store.database.stamps). `stamped`: their new timestamps. `held`: those of `w` whose chunk has not changed.
# Chunks that another writer holds are left out, too, as it would keep the timestamps of all others waiting. The
# condition on a chunk is judged on its newest version.
_APPEND = f"""
    WITH w AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::integer[], $5::integer[], $6::integer[],
                             $7::bytea[], $8::bytea[], $9::bigint[], $10::integer[], $11::text[], $12::integer[],
                             $13::bigint[], $14::bigint[])
               AS w (patient_id, epoch_no, k, version, length, keep, times, vals, last_ms, filled, status, terms,
                     settles_ms, updated_ms)),
    locked AS MATERIALIZED (
        SELECT patient_id FROM patient WHERE patient_id IN (SELECT patient_id FROM w) FOR NO KEY UPDATE SKIP LOCKED),
    stamped AS (
        UPDATE patient SET stamp_ms = {stamp("$15")}
         WHERE patient_id IN (SELECT patient_id FROM locked) RETURNING patient_id, stamp_ms),
    held AS (
        SELECT w.*, s.stamp_ms FROM w JOIN stamped s USING (patient_id) JOIN chunk c USING (patient_id, epoch_no, k)
         WHERE c.version = w.version AND octet_length(c.vals) = w.length AND c.updated_ms = w.updated_ms
           AND c.terms = w.terms AND s.stamp_ms <= w.settles_ms
           FOR NO KEY UPDATE OF c SKIP LOCKED)
    UPDATE chunk c SET times = substring(c.times FROM 1 FOR h.keep) || h.times, vals = c.vals || h.vals,
                       last_ms = h.last_ms, filled = h.filled, status = h.status, version = c.version + 1,
                       updated_ms = {moved("c.updated_ms", "h.stamp_ms")}
      FROM held h
     WHERE c.patient_id = h.patient_id AND c.epoch_no = h.epoch_no AND c.k = h.k
    RETURNING c.patient_id, c.epoch_no, c.updated_ms"""  # noqa: S608

_HEAR = """
    WITH held AS (
        SELECT patient_id, device_no FROM unnest($1::uuid[], $2::bigint[]) AS w (patient_id, device_no)
          JOIN device d USING (patient_id, device_no)
         WHERE d.heard_ms < $3
           FOR NO KEY UPDATE OF d SKIP LOCKED)
    UPDATE device d SET heard_ms = $3 FROM held h WHERE d.patient_id = h.patient_id AND d.device_no = h.device_no"""

Upload = tuple[Sensor, Sequence[Reading]]


async def append_all(
    pool: Connection, uploads: Iterable[Upload], now_ms: int, steered_ms: int | None = None
) -> list[Sensor | None]:
    """For each upload, its sensor after the ascending readings were appended; None: nothing was written.

    The sensors must differ. `now_ms` and `steered_ms` as for `append`.
    """
    if is_spread(pool):  # each patient on its server
        return [
            await append(pool, sensor, readings, now_ms, steered_ms) if readings else None
            for sensor, readings in uploads
        ]
    pairs = list(uploads)
    large = sum(len(readings) for _, readings in pairs) > LARGE_ITEMS
    planned = await aside(
        large, lambda: [_planned(sensor, readings, now_ms) if readings else None for sensor, readings in pairs]
    )
    rows = [plan.row for plan in planned if plan is not None]
    if not rows:
        return [None] * len(planned)
    found = await pool.fetch(_APPEND, *map(list, zip(*rows, strict=True)), steered_ms)
    written: dict[tuple[object, ...], int] = {(row["patient_id"], row["epoch_no"]): row["updated_ms"] for row in found}
    done = [plan if plan is not None and plan.row[:2] in written else None for plan in planned]
    await _hear((plan.after for plan in done if plan is not None and plan.hears), pool, now_ms)
    return [plan and plan.at(written[plan.row[:2]]) for plan in done]


class _Plan(NamedTuple):
    """One append: its arguments, patient and epoch first; the sensor afterwards; whether its device was heard."""

    row: tuple[object, ...]
    after: Sensor
    hears: bool

    def at(self, updated_ms: int) -> Sensor:
        """`after` with the timestamp with which it was written."""
        assert self.after.tail is not None
        return replace(self.after, tail=replace(self.after.tail, updated_ms=updated_ms))


def _planned(sensor: Sensor, readings: Sequence[Reading], now_ms: int) -> _Plan | None:
    """None when the readings cannot simply be appended."""
    tail = sensor.tail
    extension = extended(tail, readings, now_ms) if tail else None
    if tail is None or extension is None:
        return None
    after, hears = extension.after, now_ms - sensor.heard_ms >= HEARD_STEP_MS
    row = (
        sensor.patient_id, sensor.epoch_no, tail.k, tail.version, 2 * tail.count, extension.keep, extension.times,
        extension.vals, after.last_ms, after.filled, extension.status, tail.terms, tail.epoch.settles(tail.start_ms),
        tail.updated_ms,
    )  # fmt: skip
    return _Plan(row, replace(sensor, tail=after, heard_ms=now_ms if hears else sensor.heard_ms), hears)


async def _hear(sensors: Iterable[Sensor], pool: Connection, now_ms: int) -> None:
    """Note signs of life of the devices (Device.status, DEV-014), with the precision of a single append."""
    devices = {(one.patient_id, one.device_no) for one in sensors}
    if devices:
        await pool.execute(_HEAR, *map(list, zip(*devices, strict=True)), now_ms)


class _One(NamedTuple):
    """The arguments of an append."""

    sensor: Sensor
    readings: Sequence[Reading]
    now_ms: int
    steered_ms: int | None


async def append_together(
    pool: Connection, sensor: Sensor, readings: Sequence[Reading], now_ms: int, steered_ms: int | None = None
) -> Sensor | None:
    """As `append` for one sensor, but together with concurrent ones, by one statement and one commit."""
    return await ask(pool, _APPENDING, _One(sensor, readings, now_ms, steered_ms))


async def _append(pool: Connection, one: _One) -> Sensor | None:
    return await append(pool, *one)


async def _append_several(pool: Connection, several: Sequence[_One]) -> list[Sensor | None]:
    now_ms = max(one.now_ms for one in several)
    steered_ms = max((one.steered_ms for one in several if one.steered_ms is not None), default=None)
    return await append_all(pool, [(one.sensor, one.readings) for one in several], now_ms, steered_ms)


_APPENDING: Way[_One, Sensor | None] = Way(
    APPEND, _append, _append_several, key=lambda one: (one.sensor.patient_id, one.sensor.sensor_no)
)
