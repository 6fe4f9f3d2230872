"""When devices and sensors began: never long before anything that is kept, and corrected where no data contradicts.

A phone whose clock was reset registers devices of 1970; each day since then would become a chunk.
"""

from __future__ import annotations

import asyncpg

from ddr.durations import DAY_MS
from ddr.gateway.problem import conflict
from ddr.gateway.replacement import show
from ddr.http.core import Core
from ddr.store.database.pool import Row
from ddr.store.devices import devices as store
from ddr.store.devices import starts
from ddr.store.series import start as series_start
from ddr.store.series.sensors import SensorKey

LEAST_DAYS = 90  # that a series may begin before its registration: apps also send what they measured before
CONTRADICTED = "Data from before this startedAt is already stored; register a new device under a new key"


def earliest_start_ms(core: Core, miv_url: str, now_ms: int) -> int:
    """No continuous series begins before this; what it measured before the historic period is never shown."""
    return min(core.catalog.floor_ms(miv_url, now_ms), now_ms - LEAST_DAYS * DAY_MS)


def begins(core: Core, sensor: Row, wanted_ms: int, now_ms: int) -> int:
    """When a series begins whose stated start is `wanted_ms`."""
    return max(wanted_ms, earliest_start_ms(core, sensor["miv_url"], now_ms)) if sensor["continuous"] else wanted_ms


async def correct_device(core: Core, conn: asyncpg.Connection, device: Row, started_ms: int, now_ms: int) -> Row:
    """The device with another start; sensors that would begin before it begin with it. Raises Problem 409."""
    patient_id, device_no = device["patient_id"], device["device_no"]
    if device["ended_ms"] is not None and device["ended_ms"] < started_ms:
        raise conflict("startedAt must not be after endedAt")
    if await starts.measured_before(conn, patient_id, device_no, core.catalog.references, started_ms):
        raise conflict(CONTRADICTED)
    for sensor in await store.sensor_states(conn, patient_id, device["device_key"]):
        if sensor["started_ms"] < started_ms:
            await correct_sensor(core, conn, sensor, started_ms, now_ms)
    await starts.move_device(conn, patient_id, device_no, started_ms)
    return {**device, "started_ms": started_ms}


async def correct_sensor(core: Core, conn: asyncpg.Connection, sensor: Row, started_ms: int, now_ms: int) -> None:
    """Let the sensor begin at another time. Raises Problem 409 where data contradicts."""
    patient_id, ended_ms = sensor["patient_id"], sensor["ended_ms"]
    if ended_ms is not None and ended_ms <= started_ms:
        raise conflict("startedAt must not be after endedAt")
    later = started_ms > sensor["started_ms"]  # what came before an earlier start did not belong to this sensor
    if (
        later
        and not sensor["continuous"]
        and await starts.measured_before(conn, patient_id, sensor["device_no"], core.catalog.references, started_ms)
    ):
        raise conflict(CONTRADICTED)
    delay_ms, floor_ms = core.catalog.delay_ms(sensor["miv_url"]), core.catalog.floor_ms(sensor["miv_url"], now_ms)
    try:
        await series_start.move_start(conn, patient_id, sensor["sensor_no"], started_ms, now_ms, delay_ms, floor_ms)
    except series_start.KnownBefore:
        raise conflict(CONTRADICTED) from None
    key = SensorKey(patient_id, sensor["device_key"], sensor["sensor_key"])
    core.sensors.forget(key)
    device = await store.find_device(conn, patient_id, key.device_key)
    moved = await store.sensor_state(conn, *key)
    assert device is not None and moved is not None
    await show(core, conn, device, moved, now_ms)
