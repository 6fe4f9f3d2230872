"""A continuous sensor in the database, and what is stored about it; for tests of the series' store."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg

from ddr.series.epoch import Chunk
from ddr.series.packing import Reading
from ddr.store.series import sensors as series_sensors
from ddr.store.series.appending import append
from ddr.store.series.merging import Outcome, merge_readings
from ddr.store.series.sensors import CHUNK_COLUMNS, Sensor, chunk_of

MINUTE, HOUR = 60_000, 3_600_000
DAY = 24 * HOUR
START = 1_795_000_000_000
PERIOD, DELAY = 5 * MINUTE, 15 * MINUTE


@dataclass(frozen=True)
class Stored:
    """One sensor of a patient of its own; `epoch_no` is its first epoch."""

    pool: asyncpg.Pool
    patient_id: UUID
    sensor_no: int
    epoch_no: int

    async def sensor(self) -> Sensor:
        """The sensor as it is now."""
        found = await series_sensors.load(self.pool, self.patient_id, "device", "sensor")
        assert found is not None
        return found

    async def append(self, readings: list[Reading], now_ms: int) -> Sensor | None:
        """Append to the present tail."""
        return await append(self.pool, await self.sensor(), readings, now_ms, now_ms)

    async def merge(self, readings: list[Reading], now_ms: int) -> Outcome:
        """Merge, whether or not an append would do."""
        outcome = await merge_readings(self.pool, await self.sensor(), readings, now_ms, DELAY, steered_ms=now_ms)
        assert outcome is not None
        return outcome

    async def upload(self, readings: list[Reading], now_ms: int) -> None:
        """What the gateway API does: append, else merge."""
        if await self.append(readings, now_ms) is None:
            await self.merge(readings, now_ms)

    async def chunks(self, epoch_no: int | None = None) -> list[Chunk]:
        """The chunks of an epoch, the first one if not told."""
        rows = await self.pool.fetch(
            f"SELECT {CHUNK_COLUMNS} FROM chunk WHERE patient_id = $1 AND epoch_no = $2 ORDER BY k",
            self.patient_id, epoch_no or self.epoch_no,
        )  # fmt: skip
        return [chunk_of(row) for row in rows]

    async def content(self) -> list[tuple[int, int, bytes, bytes]]:
        """What must not depend on order, batches or workers."""
        return [(chunk.k, chunk.start_ms, chunk.times, chunk.vals) for chunk in await self.chunks()]

    async def add_epoch(self, from_ms: int) -> int:
        """Let the first epoch end and a second one begin at `from_ms`."""
        await self.pool.execute(
            "UPDATE epoch SET until_ms = $3 WHERE patient_id = $1 AND epoch_no = $2",
            self.patient_id, self.epoch_no, from_ms,
        )  # fmt: skip
        return await _epoch(self.pool, self.patient_id, self.sensor_no, from_ms)


async def register(pool: asyncpg.Pool, span_ms: int = DAY, from_ms: int = START) -> Stored:
    """A new patient with one device and one continuous sensor since `from_ms`."""
    patient_id = uuid4()
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, $2)", patient_id, from_ms)
    device_no = await pool.fetchval(
        """INSERT INTO device (patient_id, device_key, device_name, manufacturer, started_ms, heard_ms, created_ms,
                               updated_ms)
           VALUES ($1, 'device', 'CGM', 'Glukko Inc.', $2, $2, $2, $2) RETURNING device_no""",
        patient_id, from_ms,
    )  # fmt: skip
    sensor_no = await pool.fetchval(
        """INSERT INTO sensor (patient_id, device_no, sensor_key, miv_url, code_system, code, unit, continuous,
                               calibrated_device, metric, period_ms, span_ms, buffering_ms, started_ms, created_ms)
           VALUES ($1, $2, 'sensor', 'urn:cgm', 'http://loinc.org', '99504-3', 'mg/dL', true, true, '{}', $3, $4, $5,
                   $6, $6)
           RETURNING sensor_no""",
        patient_id, device_no, PERIOD, span_ms, DAY, from_ms,
    )  # fmt: skip
    return Stored(pool, patient_id, sensor_no, await _epoch(pool, patient_id, sensor_no, from_ms))


async def _epoch(pool: asyncpg.Pool, patient_id: UUID, sensor_no: int, from_ms: int) -> int:
    epoch_no: int = await pool.fetchval(
        """INSERT INTO epoch (patient_id, sensor_no, device_no, from_ms, updated_ms)
           SELECT patient_id, sensor_no, device_no, $3, $3 FROM sensor WHERE patient_id = $1 AND sensor_no = $2
           RETURNING epoch_no""",
        patient_id, sensor_no, from_ms,
    )  # fmt: skip
    return epoch_no
