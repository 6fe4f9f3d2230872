"""A continuous sensor as an upload needs it, with the tail of its running series; the tails that a worker remembers.

What is remembered may be outdated at any time, because another worker may have written. Facts of a registered sensor
never change, except that limits may be added, for which the holder of the lock checks (check_limits). A tail is only
used by a statement that checks it (ddr.store.series.appending.append).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ddr.remembering import Newest
from ddr.series.epoch import Chunk, Epoch
from ddr.series.reading import Rules
from ddr.series.tail import Tail
from ddr.store.database.pool import Row
from ddr.store.database.spreading import is_spread
from ddr.store.devices.devices import OF_IMPORT
from ddr.store.series.uploads import BY_TIME, LAST_MS


class SensorKey(NamedTuple):
    """What names a sensor among those of all patients."""

    patient_id: UUID
    device_key: str
    sensor_key: str


CHUNK_COLUMNS = "k, start_ms, last_ms, updated_ms, version, filled, status, times, vals"
_of_chunk = itemgetter(*CHUNK_COLUMNS.split(", "))

# Of one patient, or of each row of `w`: `{patient}` stands for the patient in the condition on each table.
_COLUMNS = """
    SELECT d.patient_id, d.device_key, s.sensor_key, s.device_no, s.sensor_no, s.miv_url, s.continuous, s.unit,
           s.decimals, s.lower_limit, s.upper_limit, s.period_ms, s.span_ms, s.buffering_ms, s.complete_until_ms,
           EXISTS (SELECT FROM upload WHERE patient_id = {patient} AND {by_time} = s.sensor_no
                      AND {last} > c.last_ms AND deleted_ms IS NOT NULL) AS taken_back,
           s.beside_import, CASE WHEN s.beside_import THEN EXISTS (
               SELECT FROM device i
                 JOIN sensor o ON o.patient_id = {patient} AND o.device_no = i.device_no AND o.continuous
                 JOIN epoch x ON x.patient_id = {patient} AND x.sensor_no = o.sensor_no
                 JOIN chunk l ON l.patient_id = {patient} AND l.epoch_no = x.epoch_no AND l.k = x.tail_k
                WHERE i.patient_id = {patient} AND {of_import}
                  AND o.miv_url = s.miv_url AND l.last_ms + s.period_ms > c.last_ms) END AS overlaps,
           greatest(s.created_ms, e.created_ms) AS registered_ms, d.heard_ms, d.expiration_ms,
           e.epoch_no, e.from_ms, e.until_ms, e.tail_k, e.tail_start_ms,
           c.k, c.start_ms, c.last_ms, c.updated_ms, c.version, c.filled, c.status, c.times, c.vals, c.terms"""

_SENSOR_WITH_TAIL = """
      JOIN sensor s ON s.patient_id = {patient} AND s.device_no = d.device_no
      LEFT JOIN LATERAL (SELECT * FROM epoch
                          WHERE patient_id = {patient} AND sensor_no = s.sensor_no AND NOT withdrawn
                          ORDER BY from_ms DESC LIMIT 1) e ON true
      LEFT JOIN chunk c ON c.patient_id = {patient} AND c.epoch_no = e.epoch_no AND c.k = e.tail_k"""


def _load(patient: str, devices: str, where: str) -> str:
    columns = _COLUMNS.format(patient=patient, of_import=OF_IMPORT, last=LAST_MS, by_time=BY_TIME)
    return f"{columns} FROM {devices}{_SENSOR_WITH_TAIL.format(patient=patient)} WHERE {where}"


_LOAD = _load("$1", "device d", "d.patient_id = $1 AND d.device_key = $2 AND s.sensor_key = $3")

_LOAD_ALL = _load(
    "w.patient_id",
    "unnest($1::uuid[], $2::text[], $3::text[]) AS w (patient_id, device_key, sensor_key)"
    " JOIN device d ON d.patient_id = w.patient_id AND d.device_key = w.device_key",
    "s.sensor_key = w.sensor_key",
)


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor as last seen. `tail` is None when readings cannot simply be appended to its newest epoch."""

    patient_id: UUID
    device_no: int
    sensor_no: int
    miv_url: str
    continuous: bool
    rules: Rules
    epoch_no: int
    heard_ms: int
    tail: Tail | None
    beside_import: bool = False  # an import has values of the same device (ddr.store.series.giving_way)


class LimitsAdded(Exception):
    """The sensor got limits after it was loaded, and its readings must be judged by them."""


def check_limits(sensor: Sensor, row: Row) -> None:
    """Raise LimitsAdded unless the limits in `row`, of the locked sensor, are those its readings were judged by."""
    judged = sensor.rules
    now = Rules.of(judged.unit, judged.decimals, row["lower_limit"], row["upper_limit"])
    if (now.lowest, now.highest) != (judged.lowest, judged.highest):
        raise LimitsAdded


async def load(pool: asyncpg.Pool, patient_id: UUID, device_key: str, sensor_key: str) -> Sensor | None:
    """The sensor as it is now, or None when the patient does not have these keys. One statement."""
    row = await pool.fetchrow(_LOAD, patient_id, device_key, sensor_key)
    return row and _sensor(row)


async def load_all(pool: asyncpg.Pool, keys: Collection[SensorKey]) -> dict[SensorKey, Sensor]:
    """Those of these sensors that exist, as they are now. One statement."""
    if not keys:
        return {}
    if is_spread(pool):
        loaded = {key: await load(pool, *key) for key in set(keys)}
        return {key: sensor for key, sensor in loaded.items() if sensor is not None}
    rows = await pool.fetch(_LOAD_ALL, *map(list, zip(*set(keys), strict=True)))
    return {SensorKey(*(row[name] for name in SensorKey._fields)): _sensor(row) for row in rows}


def _sensor(row: asyncpg.Record) -> Sensor:
    # What was taken back must not be accepted again, and imported values must give way; only a merge checks that.
    # Appended readings come after the last one, and nothing of that time was taken back when all that was taken back is
    # older.
    can_append = row["k"] is not None and not row["overlaps"] and not row["taken_back"]
    return Sensor(
        patient_id=row["patient_id"],
        device_no=row["device_no"],
        sensor_no=row["sensor_no"],
        miv_url=row["miv_url"],
        continuous=row["continuous"],
        rules=Rules.of(row["unit"], row["decimals"], row["lower_limit"], row["upper_limit"]),
        epoch_no=row["epoch_no"],
        heard_ms=row["heard_ms"],
        tail=Tail.of(Epoch.of(row, 0), chunk_of(row), row["terms"]) if can_append else None,
        beside_import=row["beside_import"],
    )


def chunk_of(row: asyncpg.Record) -> Chunk:
    """The chunk in a row that has CHUNK_COLUMNS."""
    return Chunk(*_of_chunk(row))


class Remembered(Newest[SensorKey, Sensor]):
    """The sensors that this worker wrote to most recently, at most `most`."""

    def __init__(self, most: int = 20_000) -> None:
        super().__init__(most)
