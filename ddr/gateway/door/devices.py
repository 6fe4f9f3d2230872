"""Device of the PHD guide as the body of PUT …/devices/{key}. Pure."""

from __future__ import annotations

from ddr.fhir.instants import date_time
from ddr.gateway.door.codes import GATEWAY_DEVICE, Json, codings, device_code
from ddr.gateway.door.entries import MAX_NAMES, identifier_keys, make_key, reference
from ddr.gateway.fields import Fields, given
from ddr.gateway.problem import invalid
from ddr.store.database.pool import Row

PHG_PROFILE = "http://hl7.org/fhir/uv/phd/StructureDefinition/PhgDevice"
SYSTEM_ID = "SYSID"  # the IEEE 11073 system identifier, which does not change with the transport address
NAME_TYPES = ("user-friendly-name", "model-name", "manufacturer-name")


def is_gateway(fields: Fields) -> bool:
    """Whether this is the gateway (PHG), which measures nothing and is not stored."""
    meta = fields.object("meta")
    profiles = (meta and meta.array("profile", 50)) or []
    return PHG_PROFILE in profiles or GATEWAY_DEVICE in codings(fields.object("type"))


def device_keys(fields: Fields) -> list[str]:
    """The keys made from its identifiers, system identifier first; without any, from manufacturer and serial number.

    A new device gets the first key, but may already be known under another.
    """
    found = identifier_keys("Device", fields, SYSTEM_ID)
    if found:
        return found[:MAX_NAMES]
    manufacturer = fields.need("manufacturer", fields.text)
    return [make_key("Device", "serial", manufacturer, fields.need("serialNumber", fields.text))]


def is_same(row: Row, fields: Fields) -> bool:
    """Whether a stored device has this serial number and manufacturer; identifiers may be those of a model."""
    said = fields.text("serialNumber"), fields.text("manufacturer")
    return None not in said and (row["serial_number"], row["manufacturer"]) == said


def conditional_key(url: str) -> str | None:
    """The key of "Device?identifier=system|value"; None for any other reference."""
    query = url.removeprefix("Device?identifier=")
    system, bar, value = query.partition("|")
    return None if query == url or not bar else make_key("Device", system, value)


def device_body(fields: Fields, earliest_ms: int | None) -> Json:
    """The registration. In the PHD guide a device may omit the serial number, which counts as having none.

    `earliest_ms` is the time of its first value, given for a device that is not registered yet. Raises Problem 422.
    """
    if fields.text("status") == "entered-in-error":
        raise invalid("status", "must not be entered-in-error")
    special = [entry.object("systemType") for entry in fields.objects("specialization", 50) or ()]
    definition = reference(fields, "definition")
    found = {
        "name": _name(fields),
        "manufacturer": fields.raw("manufacturer"),
        "modelNumber": fields.raw("modelNumber"),
        "type": device_code([fields.object("type"), *special]),
        "expirationDate": fields.raw("expirationDate"),
        "definition": definition if definition and definition.startswith("https:") else None,
        "startedAt": _start(fields, earliest_ms),
    }
    return {"serialNumber": fields.raw("serialNumber"), **given(found)}


def known_device(row: Row, fields: Fields, body: Json) -> Json:
    """The registration of a device that one of its identifiers names; what it does not say is taken from `row`.

    With the same serial number, a differently written manufacturer is the same one, as a new version of an app may
    write it. Raises Problem 422.
    """
    serial, manufacturer = fields.text("serialNumber"), fields.text("manufacturer")
    if manufacturer is None or (serial is not None and serial == row["serial_number"]):
        manufacturer = row["manufacturer"]
    return {**body, "serialNumber": serial or row["serial_number"], "manufacturer": manufacturer}


def remarks(fields: Fields, found: Json) -> str | None:
    """What of a Device is not stored as it was sent, and what is odd; `found` is the answer to its registration."""
    told = [found.get("warning")]
    if fields.text("manufacturer") not in {None, found["manufacturer"]}:
        told.append(f"The manufacturer remains {found['manufacturer']}, as registered")
    if fields.text("status") == "inactive" and found["endedAt"] is None:
        told.append(
            "The status inactive does not end the device, because it has no time: "
            f"PUT devices/{found['key']} with endedAt"
        )
    return ". ".join(filter(None, told)) or None


def _name(fields: Fields) -> str | None:
    names = {entry.text("type"): entry.text("name") for entry in fields.objects("deviceName", 50) or ()}
    chosen = next((names[kind] for kind in NAME_TYPES if kind in names), None)
    return chosen or next(iter(names.values()), None) or fields.text("modelNumber")


def _start(fields: Fields, earliest_ms: int | None) -> str | None:
    """A device begins when it was made, so that older values which arrive later are not before its start."""
    if earliest_ms is None:
        return None
    made = fields.date_time("manufactureDate")
    return date_time(min(earliest_ms, made[1]) if made and made[1] >= 0 else earliest_ms)
