"""Which device and sensor of a patient a resource means, and its registration through the functions of the JSON API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ddr.aside import aside
from ddr.gateway.calibrations import post_calibrations
from ddr.gateway.door import metrics
from ddr.gateway.door.codes import Json
from ddr.gateway.door.devices import device_keys, is_same
from ddr.gateway.door.observations import Observed
from ddr.gateway.door.sampled import is_large
from ddr.gateway.door.starts import restate
from ddr.gateway.fields import Fields
from ddr.gateway.problem import Problem, invalid
from ddr.gateway.sensors import put_sensor
from ddr.http.core import Core
from ddr.miv.model import Miv, MivCode
from ddr.store.database.pool import Row
from ddr.store.devices import devices as store
from ddr.store.series.sensors import SensorKey


async def device_key_of(core: Core, patient_id: UUID, device: Fields) -> str:
    """The key of the Device, whatever the order of its identifiers; a new one for a new device."""
    first, *others = device_keys(device)
    if not others:
        return first
    known = {row["device_key"]: row for row in await store.devices_of(core.pool, patient_id)}
    if first in known:
        return first
    return next((key for key in others if key in known and is_same(known[key], device)), first)


async def stored_sensor(
    core: Core, patient_id: UUID, device_key: str, code: MivCode, metric: Fields | None
) -> Row | None:
    """The sensor with a key of this DeviceMetric; if that has no identifier, the only sensor of its kind."""
    keys = metrics.sensor_keys(code, metric)
    rows = await store.sensor_states(core.pool, patient_id, device_key)
    alike = [row for row in rows if (row["code_system"], row["code"]) == (code.system, code.code)]
    found = next((row for row in rows if row["sensor_key"] == keys[0]), None)
    if found is None and keys == metrics.sensor_keys(code) and len(alike) == 1:
        return alike[0]
    return found or next((row for key in keys for row in alike if row["sensor_key"] == key), None)


async def register_sensor(
    core: Core,
    patient_id: UUID,
    device_key: str,
    kind: tuple[Miv, MivCode],
    observed: Sequence[Observed],
    metric: Fields | None,
    stored: Row | None,
) -> tuple[int, dict[str, Any]]:
    """Register a sensor as described by its DeviceMetric, if there is one, and its values, or change the `stored` one.

    Returns status and answer of the JSON API. Raises Problem 409 or 422.
    """
    if stored is not None:
        body = metrics.known_sensor(stored, kind[1], metric)
        return await put_sensor(core, SensorKey(patient_id, device_key, stored["sensor_key"]), body)
    row = await store.find_device(core.pool, patient_id, device_key)
    if row is None:
        raise invalid("device", "is not registered", "unknown-device")
    # A device whose clock was reset would begin a series long before anything that is kept.
    now, from_ms = core.clock(), row["started_ms"]
    if kind[0].continuous:
        from_ms = max(from_ms, core.catalog.floor_ms(kind[0].valueset, now))
    large = is_large(item.samples for item in observed if item.samples is not None)
    body = await aside(large, metrics.new_sensor, *kind, observed, metric, from_ms, now)
    return await put_sensor(core, SensorKey(patient_id, device_key, metrics.sensor_keys(kind[1], metric)[0]), body)


async def store_calibrations(
    core: Core, patient_id: UUID, device_key: str, sensor: dict[str, Any], events: Sequence[Json]
) -> str:
    """Store those calibrations of a DeviceMetric that the `sensor` registered from it does not have yet.

    Returns the id of the newest DeviceMetric. Raises Problem 409 or 422.
    """
    key = SensorKey(patient_id, device_key, sensor["key"])
    row = await store.sensor_state(core.pool, *key)
    if row is None:
        return str(sensor["metricId"])
    later = metrics.later_events(events, row)
    await restate(core, patient_id, row, events)
    if later:
        body = {"calibrations": later}
        _, answer = await post_calibrations(core, key, body)
        for item in answer["items"]:
            if item["status"] == "rejected":
                raise Problem(422, item["reason"], item["detail"])
        row = await store.sensor_state(core.pool, *key) or row
    return core.ids.metric(row["epoch_no"])
