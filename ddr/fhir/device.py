"""A Personal Health Device as FHIR Device (HDDT fhir-api-device.md, profile hddt-personal-health-device)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.fhir.device_types import device_type
from ddr.fhir.references import PROFILES, ResourceIds, meta

PROFILE = PROFILES + "hddt-personal-health-device"
DEVICE_VERSION = 1  # a Device is not versioned: its status is that at the time of reading (HDDT retrieving-data.md)


def device_status(row: Mapping[str, Any], now_ms: int, delay_ms: int) -> str:
    """Device.status: inactive after its end or expiry, unknown if not heard for longer than `delay_ms`, else active.

    `delay_ms` is the Delay-From-Real-Time of the MIV.
    """
    ends = (row["device_ended_ms"], row["expiration_ms"])
    if any(end is not None and end <= now_ms for end in ends):
        return "inactive"
    return "unknown" if now_ms - row["heard_ms"] > delay_ms else "active"


def device_resource(row: Mapping[str, Any], ids: ResourceIds, status: str) -> dict[str, Any]:
    """The Device of a row of the table device, its times prefixed with `device_`; `status` is from `device_status`."""
    resource: dict[str, Any] = {
        "resourceType": "Device",
        "id": ids.device(row["device_no"]),
        "meta": meta(DEVICE_VERSION, row["device_updated_ms"], PROFILE),
    }
    if row["definition_url"]:
        resource["definition"] = {"reference": row["definition_url"]}
    resource["status"] = status
    for name, value in (
        ("manufacturer", row["manufacturer"]),
        ("expirationDate", row["expiration_date"]),
        ("serialNumber", row["serial_number"]),
        ("deviceName", [{"name": row["device_name"], "type": "user-friendly-name"}]),
        ("modelNumber", row["model_number"]),
        ("type", row["type_code"] and device_type(row["type_code"])),
    ):
        if value:
            resource[name] = value
    return resource
