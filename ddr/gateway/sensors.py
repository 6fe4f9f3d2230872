"""Registers the sensors of a device: PUT and GET below /gateway/v1/devices/{device_key}/sensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from ddr.fhir.instants import parse_instant
from ddr.gateway.bounds import MOST_SENSORS, check_room
from ddr.gateway.fields import Number, given
from ddr.gateway.problem import conflict, invalid, not_found
from ddr.gateway.registration import Registration, parse_sensor
from ddr.gateway.replacement import withhold
from ddr.gateway.starts import begins, correct_sensor
from ddr.gateway.writing import at, check_end, end_sensors, writing
from ddr.http.core import Core
from ddr.store.database.pool import Connection, Row
from ddr.store.devices import devices as store
from ddr.store.series.giving_way import note_beside
from ddr.store.series.limits import NumbersBeyond, add_limits, stated
from ddr.store.series.sensors import SensorKey

MOST_SHOWN = 200  # characters of a stored value in an error
NUMBERS_BEYOND = "numbers-beyond"


async def put_sensor(
    core: Core, key: SensorKey, body: Any, unless_beyond: Collection[Number] | None = None
) -> tuple[int, dict[str, Any]]:
    """Register a sensor with its first calibration epoch: 201 when it is new, else 200, with the sensor as stored.

    For a registered sensor, only the displayed unit may change, its end may be noted, missing limits may be added once,
    and its start may be corrected where no data contradicts. A registration that differs elsewhere raises Problem 409,
    so that no series ever mixes two sensors. Numbers beyond added limits become L and U. With `unless_beyond` the
    limits are a guess, and are refused (Problem 409) where one of these numbers, or of the sensor's, lies beyond them.
    """
    wanted = parse_sensor(body, core.catalog, core.settings, core.clock())
    async with writing(core, key.patient_id) as (conn, now):
        device = await store.find_device(conn, key.patient_id, key.device_key)
        if device is None:
            raise not_found("device")
        await store.note_heard(conn, key.patient_id, [device["device_no"]], now)
        stored = await store.sensor_state(conn, *key)
        if stored is None:
            await _register(core, conn, device, key, wanted, now)
        else:
            _check_same(stored, wanted)
            await _correct_start(core, conn, device, stored, wanted, now)
        row = await _state(conn, key)
        await _add_facts(core, conn, row, wanted, now, unless_beyond)
        row = await _state(conn, key)
    return 200 if stored else 201, describe(core, row)


async def get_sensors(core: Core, patient_id: UUID, device_key: str) -> tuple[int, dict[str, Any]]:
    """The sensors of a device and how far each is stored. Raises Problem 404."""
    if await store.find_device(core.pool, patient_id, device_key) is None:
        raise not_found("device")
    rows = await store.sensor_states(core.pool, patient_id, device_key)
    return 200, {"sensors": [describe(core, row) for row in rows]}


async def get_sensor(core: Core, key: SensorKey) -> tuple[int, dict[str, Any]]:
    """One sensor and how far it is stored. Raises Problem 404."""
    return 200, describe(core, await _state(core.pool, key))


async def _register(
    core: Core, conn: asyncpg.Connection, device: Row, key: SensorKey, wanted: Registration, now_ms: int
) -> None:
    if device["ended_ms"] is not None:
        raise conflict("The device has ended; register the new one under a new key", "ended")
    facts = wanted.columns(device)
    if facts["started_ms"] < device["started_ms"]:
        raise invalid("startedAt", "must not be before the start of the device", "before-start")
    facts["started_ms"] = begins(core, facts, facts["started_ms"], now_ms)
    patient_id, device_no = key.patient_id, device["device_no"]
    count = await store.count_sensors(conn, patient_id, device_no, MOST_SENSORS)
    check_room(count, MOST_SENSORS, "sensors of a device")
    sensor_no = await store.insert_sensor(conn, patient_id, device_no, key.sensor_key, facts, now_ms)
    await store.insert_epoch(conn, patient_id, device_no, sensor_no, wanted.first_epoch(facts["started_ms"]), now_ms)
    await note_beside(conn, patient_id)
    await withhold(core, conn, device, await _state(conn, key), now_ms)


def _check_same(stored: Row, wanted: Registration) -> None:
    before, now = stored["registration"], wanted.facts
    changed = {name: before.get(name) for name in sorted(now) if before.get(name) != now[name]}
    if _calibrated_at(before.get("calibration")) == _calibrated_at(now["calibration"]):
        changed.pop("calibration", None)
    if _adds(before.get("limits"), now["limits"]):
        changed.pop("limits", None)
    if changed:
        stated = "; ".join(f"{name} {_shown(value)}" for name, value in changed.items())
        raise conflict(f"This key names a registered sensor with other data: {stated}. Use a new key for a new sensor")


def _calibrated_at(calibration: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The calibration without the zone in which its time is written: phones travel, and change to winter time."""
    time = (calibration or {}).get("time")
    return calibration if calibration is None or time is None else {**calibration, "time": parse_instant(time)}


def _adds(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """True when a registration says nothing about the limits, or gives the known ones and perhaps another one."""
    return not now or (before or {}).items() <= now.items()


def _shown(value: Any) -> str:
    return "not given" if value is None else orjson.dumps(value).decode()[:MOST_SHOWN]


async def _correct_start(
    core: Core, conn: asyncpg.Connection, device: Row, stored: Row, wanted: Registration, now_ms: int
) -> None:
    """Move the start to that of the request if it differs. Raises Problem 409 where data contradicts, 422."""
    if wanted.started_ms is None or wanted.started_ms == stored["started_ms"]:
        return
    if wanted.started_ms < device["started_ms"]:
        raise invalid("startedAt", "must not be before the start of the device", "before-start")
    # As it would have been registered: by the day of the correction, the start of a sensor worn for long would move.
    started_ms = begins(core, stored, wanted.started_ms, stored["created_ms"])
    if started_ms != stored["started_ms"]:  # otherwise this start was already requested
        await correct_sensor(core, conn, stored, started_ms, now_ms)


async def _add_facts(
    core: Core,
    conn: asyncpg.Connection,
    row: Row,
    wanted: Registration,
    now_ms: int,
    unless_beyond: Collection[Number] | None,
) -> None:
    """Store end, limits and displayed unit if the request gives them and they are not stored yet."""
    if wanted.ended_ms is not None and check_end(row, wanted.ended_ms):
        await end_sensors(core, conn, [row], wanted.ended_ms, now_ms)
    limits = wanted.facts["limits"]
    if limits and limits != row["registration"].get("limits"):
        registration = row["registration"] | {"limits": limits}
        delay_ms = core.catalog.delay_ms(row["miv_url"])
        try:
            await add_limits(conn, row, registration, wanted.limit_columns(), now_ms, delay_ms, unless_beyond)
        except NumbersBeyond:
            raise conflict("Numbers beyond these limits are already stored", NUMBERS_BEYOND) from None
    if wanted.display_unit is not None and wanted.display_unit != row["display_unit"]:
        await store.set_display_unit(conn, row["patient_id"], row["epoch_no"], wanted.display_unit, now_ms)


async def _state(conn: Connection, key: SensorKey) -> Row:
    row = await store.sensor_state(conn, *key)
    if row is None:
        raise not_found("sensor")
    return row


def describe(core: Core, row: Row) -> dict[str, Any]:
    """The sensor as shown to gateways, with its newest calibration and the cursor `storedUntil`."""
    miv = core.catalog.by_valueset(row["miv_url"])
    return {
        "key": row["sensor_key"],
        "device": row["device_key"],
        "metricId": core.ids.metric(row["epoch_no"]),
        "miv": miv.name if miv else None,
        "codeSystem": row["code_system"],
        "code": row["code"],
        "unit": row["unit"],
        "samplingPeriodMs": row["period_ms"],
        "decimals": row["decimals"] if row["continuous"] else None,
        "limits": stated(row) or None,
        "bufferingSeconds": row["buffering_ms"] // 1000,
        "metric": row["metric"],
        "method": row["method"],
        "note": row["note"],
        "calibration": _calibration(row),
        "displayUnit": row["display_unit"],
        "startedAt": at(row["started_ms"]),
        "endedAt": at(row["ended_ms"]),
        "storedUntil": at(row["stored_ms"]),
        "completeUntil": at(row["complete_until_ms"]),
    }


def _calibration(row: Row) -> dict[str, str] | None:
    parts = {"state": row["calibration_state"], "type": row["calibration_type"], "time": row["calibration_time"]}
    return given(parts) or None
