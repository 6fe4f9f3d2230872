"""Moves the start of a device or sensor back for earlier values, where FHIR did not give it and it was a guess."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from ddr.gateway.calibrations import begin_with
from ddr.gateway.door import metrics
from ddr.gateway.door.codes import Json
from ddr.gateway.door.entries import is_made
from ddr.gateway.door.observations import Observed
from ddr.gateway.starts import correct_device, correct_sensor, earliest_start_ms
from ddr.gateway.writing import writing
from ddr.http.core import Core
from ddr.store.database.pool import Row
from ddr.store.devices import devices as store


async def reach_back(
    core: Core,
    patient_id: UUID,
    device_key: str,
    sensor_key: str | None,
    observed: Sequence[Observed],
    events: Sequence[Json],
) -> None:
    """Let device and sensor begin with the first of these values, if they began later and were registered here.

    The sensor then begins in the state that its calibrations, with `events` of the Bundle, give for that time. A sensor
    that was registered through the JSON API has a stated start.

    Values stamped by a clock that was reset, before everything that is kept, move nothing. Raises Problem 409.
    """
    now_ms = core.clock()
    times = [
        item.earliest_ms
        for item in observed
        if item.code.kind != "reference" and item.earliest_ms >= earliest_start_ms(core, item.miv.valueset, now_ms)
    ]
    if not times or not is_made(device_key) or not is_made(sensor_key or device_key):
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
            if sensor["calibrated_device"]:
                await _begin(core, conn, sensor, first_ms, events, now)
            else:
                await correct_sensor(core, conn, sensor, first_ms, now)


async def restate(core: Core, patient_id: UUID, sensor: Row, events: Sequence[Json]) -> None:
    """Let a sensor registered here begin in the state that its DeviceMetric, with `events`, gives for its start.

    A state from before the start may become known later. Raises Problem 409.
    """
    if not is_made(sensor["sensor_key"]) or _learnt(sensor, events) is None:
        return
    async with writing(core, patient_id) as (conn, now):
        row = await store.sensor_state(conn, patient_id, sensor["device_key"], sensor["sensor_key"])
        if row is not None and (first := _learnt(row, events)) is not None:
            known = row["registration"]["calibration"]
            await begin_with(core, conn, row, row["started_ms"], first, [known] if "time" in known else [], now)


def _learnt(sensor: Row, events: Sequence[Json]) -> Json | None:
    """The state at its start according to `events`; None where they give no later state than the known one.

    The known state may be later than a start that has moved back, because earlier versions left it so.
    """
    known, started_ms = sensor["registration"]["calibration"], sensor["started_ms"]
    if known is None:
        return None
    astray = metrics.time_of(known) > started_ms
    since_ms = -1 if astray else metrics.time_of(known)
    found = metrics.readable([event for event in events if since_ms < metrics.time_of(event) <= started_ms])
    return found[-1] if found else {"state": "unspecified"} if astray else None


async def _begin(
    core: Core, conn: asyncpg.Connection, sensor: Row, first_ms: int, events: Sequence[Json], now_ms: int
) -> None:
    """The state at the former start is now one event among others; its DeviceMetric begins with that state."""
    known = metrics.in_order([sensor["registration"]["calibration"], *metrics.readable(events)])
    since_ms = max(first_ms, metrics.state_since_ms(known, sensor["started_ms"]))
    if since_ms < sensor["started_ms"]:
        await correct_sensor(core, conn, sensor, since_ms, now_ms)
        moved = await store.sensor_state(conn, sensor["patient_id"], sensor["device_key"], sensor["sensor_key"])
        assert moved is not None
        sensor = moved
    first = metrics.at_start(known, first_ms)
    assert first is not None
    await begin_with(core, conn, sensor, first_ms, first, [event for event in known if "time" in event], now_ms)
