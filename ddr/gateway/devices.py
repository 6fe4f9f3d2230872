"""Registers a patient's devices: PUT and GET below /gateway/v1/devices (HDDT fhir-api-device.md)."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import asyncpg

from ddr.fhir.device_types import DEVICE_TYPES
from ddr.gateway.bounds import MOST_DEVICES, check_room
from ddr.gateway.fields import Fields
from ddr.gateway.problem import conflict, invalid, not_found
from ddr.gateway.replacement import end_import, same_device, take_over
from ddr.gateway.starts import correct_device
from ddr.gateway.writing import at, check_end, end_device, writing
from ddr.http.core import Core
from ddr.store.database.ids import IdCipher
from ddr.store.database.pool import Row
from ddr.store.devices import devices as store
from ddr.store.series.expiry import change_expiration

# Device.definition must lead to the HIIS-VZ by an absolute URL (DEV-023, DEV-039).
_DEFINITION = re.compile(r"https://hiis\.bfarm\.de/(?:[A-Za-z0-9._~-]+/)*DeviceDefinition/[A-Za-z0-9.-]{1,64}")

# What makes it another device, and the member for it: it may not change under a key (DEV-011).
_IDENTITY = {"serial_number": "serialNumber", "manufacturer": "manufacturer", "replaces_key": "replaces"}
_CHANGED_APART = {"started_ms", "ended_ms", "replaces_key"}  # columns that `update_device` does not change


async def put_device(core: Core, patient_id: UUID, device_key: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Register a device, or change or end it: 201 when it is new, else 200, with the device as stored.

    Repeating the request changes nothing. Raises Problem 409 when the key already names another device.
    """
    wanted = parse_device(body, core.clock() + core.settings.gateway_future_seconds * 1000)
    async with writing(core, patient_id) as (conn, now):
        stored = await store.find_device(conn, patient_id, device_key)
        row = await _write(core, conn, patient_id, device_key, stored, wanted, now)
        if wanted["replaces_key"] is not None and (stored is None or stored["replaces_key"] is None):
            if stored is not None:
                await store.note_replaced(conn, row, wanted["replaces_key"])
                row = {**row, "replaces_key": wanted["replaces_key"]}
            await take_over(core, conn, row, now)
        if check_end(row, wanted["ended_ms"]):
            row = await end_device(core, conn, row, wanted["ended_ms"], now)
        await end_import(core, conn, row, now)
        twin = await same_device(conn, row) if row["ended_ms"] is None else None
        twin = None if twin == row["replaces_key"] else twin  # the gateway knows about both
    return 200 if stored else 201, describe(row, core.ids) | _warning(device_key, twin)


async def get_devices(core: Core, patient_id: UUID) -> tuple[int, dict[str, Any]]:
    """All devices of the patient, oldest registration first."""
    rows = await store.devices_of(core.pool, patient_id)
    return 200, {"devices": [describe(row, core.ids) for row in rows]}


async def get_device(core: Core, patient_id: UUID, device_key: str) -> tuple[int, dict[str, Any]]:
    """One device. Raises Problem 404."""
    row = await store.find_device(core.pool, patient_id, device_key)
    if row is None:
        raise not_found("device")
    return 200, describe(row, core.ids)


def parse_device(body: Any, latest_ms: int) -> dict[str, Any]:
    """The requested columns of the table device; `started_ms` and `ended_ms` are None when not given.

    Raises Problem 422.
    """
    fields = Fields(body)
    if "serialNumber" not in fields.data:
        # DEV-020: a serial number may only be missing when there is none, so omitting it must be a decision.
        raise invalid(
            "serialNumber",
            "is required; use null only when the device, its manual and its packaging show no serial number",
        )
    expiration = fields.date_time("expirationDate")
    found = {
        "serial_number": fields.text("serialNumber"),
        "device_name": fields.need("name", fields.text),
        "manufacturer": fields.need("manufacturer", fields.text),
        "model_number": fields.text("modelNumber"),
        "type_code": fields.choice("type", DEVICE_TYPES),
        "expiration_date": expiration and expiration[0],
        "expiration_ms": expiration and expiration[2],
        "definition_url": _definition(fields),
        "started_ms": fields.instant("startedAt", latest_ms),
        "ended_ms": fields.instant("endedAt", latest_ms),
        "replaces_key": fields.key("replaces"),
    }
    fields.done()
    return found


def _definition(fields: Fields) -> str | None:
    url = fields.text("definition")
    if url is not None and not _DEFINITION.fullmatch(url):
        raise invalid("definition", "must be the absolute URL of a DeviceDefinition at https://hiis.bfarm.de/")
    return url


async def _write(
    core: Core,
    conn: asyncpg.Connection,
    patient_id: UUID,
    device_key: str,
    stored: Row | None,
    wanted: dict[str, Any],
    now_ms: int,
) -> Row:
    """The device, registered or changed as `wanted`, except for its end and what it replaces. Raises Problem 409."""
    if stored is None:
        check_room(await store.count_devices(conn, patient_id, MOST_DEVICES), MOST_DEVICES, "devices of a patient")
        facts = wanted | {"started_ms": now_ms if wanted["started_ms"] is None else wanted["started_ms"]}
        return await store.insert_device(conn, patient_id, device_key, facts, now_ms)
    _check_same(stored, wanted)
    if wanted["started_ms"] not in {None, stored["started_ms"]}:
        stored = await correct_device(core, conn, stored, wanted["started_ms"], now_ms)
    if all(stored[name] == wanted[name] for name in wanted.keys() - _CHANGED_APART):
        await store.note_heard(conn, patient_id, [stored["device_no"]], now_ms)
        return {**stored, "heard_ms": max(now_ms, stored["heard_ms"])}
    if stored["expiration_ms"] != wanted["expiration_ms"]:
        if check_end(stored, wanted["ended_ms"]):  # first, so that no chunk becomes expected that the end withdraws
            stored = await end_device(core, conn, stored, wanted["ended_ms"], now_ms)
        await change_expiration(conn, stored, wanted["expiration_ms"], now_ms, core.catalog.delay_ms)
    return await store.update_device(conn, patient_id, stored["device_no"], wanted, now_ms)


def _check_same(stored: Row, wanted: Row) -> None:
    """Raise Problem 409 when `wanted` describes another device than the stored one.

    A serial number, and what the device replaces, may be added later; what it replaces need not be repeated.
    """
    for column, member in _IDENTITY.items():
        known, given = stored[column], wanted[column]
        left_out = column == "replaces_key" and given is None
        if known is not None and known != given and not left_out:
            raise conflict(f"This key names a device whose {member} is {known}; register a new device under a new key")


def _warning(device_key: str, twin: str | None) -> dict[str, str]:
    """The warning when another device of the patient has the same serial number and manufacturer."""
    if twin is None:
        return {}
    return {
        "warning": f"Device {twin} has the same serial number and has not ended, so both are shown as active. If both"
        f' are one device, PUT devices/{device_key} again with "replaces": "{twin}"; that ends the other registration'
    }


def describe(row: Row, ids: IdCipher) -> dict[str, Any]:
    """The device as shown to gateways; `id` is the logical id of the FHIR resource."""
    return {
        "key": row["device_key"],
        "id": ids.device(row["device_no"]),
        "serialNumber": row["serial_number"],
        "name": row["device_name"],
        "manufacturer": row["manufacturer"],
        "modelNumber": row["model_number"],
        "type": row["type_code"],
        "expirationDate": row["expiration_date"],
        "definition": row["definition_url"],
        "startedAt": at(row["started_ms"]),
        "endedAt": at(row["ended_ms"]),
        "replaces": row["replaces_key"],
        "heardAt": at(row["heard_ms"]),
    }
