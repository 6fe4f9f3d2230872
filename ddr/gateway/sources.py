"""What a measurement comes from: its device or calibration epoch (OBS-022 to 024), and its sources. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ddr.gateway.measurement_rules import Upload
from ddr.gateway.problem import invalid
from ddr.store.database.pool import Row


class Sources:
    """The devices, sensors and epochs that uploads name; `rows` are those of `ddr.store.devices.devices.sources`."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.devices: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            self.devices[row["device_key"]].append(row)

    def device_nos(self) -> list[int]:
        """The numbers of all devices."""
        return [rows[0]["device_no"] for rows in self.devices.values()]

    def of(self, upload: Upload) -> tuple[int | None, int | None]:
        """Numbers of the device and, if its sensor is calibrated, of the epoch to which the measurement belongs.

        Raises Problem 422.
        """
        if upload.device_key is None:
            return None, None
        rows = self.devices.get(upload.device_key)
        if rows is None:
            raise invalid("device", "is not registered", "unknown-device")
        device_no: int = rows[0]["device_no"]
        if upload.code.kind == "reference":
            # A reference value is valid for a period and is rarely measured, so no calibration applies to it.
            return device_no, None
        _check_within(upload.effective_ms, rows[0]["device_started_ms"], rows[0]["device_ended_ms"], "device")
        epochs = _calibrated(upload, rows)
        return device_no, _epoch_at(upload.effective_ms, epochs) if epochs else None


def _calibrated(upload: Upload, rows: list[Row]) -> list[Row]:
    """The epochs of the sensor that measured, none when it has no calibration."""
    if upload.sensor_key is None:
        if any(row["calibrated_device"] and row["miv_url"] == upload.miv.valueset for row in rows):
            raise invalid("sensor", "is required because this device has a calibrated sensor for such values")
        return []
    epochs = [row for row in rows if row["sensor_key"] == upload.sensor_key]
    if not epochs:
        raise invalid("sensor", "is not registered for this device", "unknown-sensor")
    if epochs[0]["miv_url"] != upload.miv.valueset:
        raise invalid("sensor", "is registered for values of another kind")
    return epochs if epochs[0]["calibrated_device"] else []


def _epoch_at(effective_ms: int, epochs: list[Row]) -> int:
    _check_within(effective_ms, epochs[0]["from_ms"], epochs[-1]["until_ms"], "sensor")
    number: int = next(e["epoch_no"] for e in reversed(epochs) if e["from_ms"] <= effective_ms)
    return number


def _check_within(effective_ms: int, from_ms: int, until_ms: int | None, what: str) -> None:
    if effective_ms < from_ms:
        raise invalid("effective", f"is before the start of the {what}", "before-start")
    if until_ms is not None and effective_ms >= until_ms:
        raise invalid("effective", f"is not before the end of the {what}", "after-end")


def derivation(upload: Upload, stored: Mapping[str, Row]) -> list[int]:
    """The numbers of the reading and the reference value of a relative value, in this order (LF-017, LF-026).

    Raises Problem 422 when `upload` names others.
    """
    if not upload.derived_from:
        return []
    if upload.key not in stored and any(_in_error(stored.get(key)) for key in upload.derived_from):
        raise invalid("derivedFrom", "names a measurement that was entered in error", "derivation")
    found = dict(_source(upload, stored.get(key)) for key in upload.derived_from)
    if set(found) != {"reading", "reference"}:
        raise invalid("derivedFrom", "must name one reading and one reference value", "derivation")
    return [found["reading"], found["reference"]]


def _in_error(row: Row | None) -> bool:
    return row is not None and row["status"] == "entered-in-error"


def _source(upload: Upload, row: Row | None) -> tuple[str, int]:
    """The kind of a measurement from which `upload` is derived, and its number."""
    if row is None:
        raise invalid(
            "derivedFrom", "names a measurement that is not stored; send that measurement first", "unknown-measurement"
        )
    if row["deleted_ms"] is not None:
        raise invalid("derivedFrom", "names a measurement that was deleted", "derivation")
    code = next((c for c in upload.miv.codes if (c.system, c.code) == (row["code_system"], row["code"])), None)
    if code is None or code.quantity != upload.code.quantity:
        raise invalid("derivedFrom", "names a measurement of another quantity", "derivation")
    return code.kind, row["measurement_no"]
