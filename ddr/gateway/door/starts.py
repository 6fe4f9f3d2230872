"""Values from before the start of a device or sensor that FHIR said nothing about: the start was a guess, and moves."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ddr.gateway.door.entries import is_made
from ddr.gateway.door.observations import Observed
from ddr.gateway.starts import correct_device, correct_sensor, earliest_start_ms
from ddr.gateway.writing import writing
from ddr.http.core import Core
from ddr.store.devices import devices as store


async def reach_back(
    core: Core, patient_id: UUID, device_key: str, sensor_key: str | None, observed: Sequence[Observed]
) -> None:
    """Let device and sensor begin with the first of these values, if they began later and were registered here.

    What a clock that was reset has stamped, before everything that is kept, moves nothing. Raises Problem 409.
    """
    now_ms = core.clock()
    times = [
        item.earliest_ms
        for item in observed
        if item.code.kind != "reference" and item.earliest_ms >= earliest_start_ms(core, item.miv.valueset, now_ms)
    ]
    if not times or not is_made(device_key):
        return
    device = await store.find_device(core.pool, patient_id, device_key)
    sensor = sensor_key and await store.sensor_state(core.pool, patient_id, device_key, sensor_key)
    first_ms = min(times)
    if device is None or first_ms >= max(row["started_ms"] for row in (device, sensor) if row):
        return
    async with writing(core, patient_id) as (conn, now):
        device = await store.find_device(conn, patient_id, device_key)
        if device is not None and first_ms < device["started_ms"]:
            await correct_device(core, conn, device, first_ms, now)
        sensor = sensor_key and await store.sensor_state(conn, patient_id, device_key, sensor_key)
        if sensor and first_ms < sensor["started_ms"]:
            await correct_sensor(core, conn, sensor, first_ms, now)
