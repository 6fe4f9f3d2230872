"""Reads the CSV exports that people have of their glucose values: Dexcom Clarity and LibreView. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

_LIMITS = {"low": "L", "lo": "L", "high": "U", "hi": "U"}
_LIBRE_TIMES = ("%d-%m-%Y %H:%M", "%m-%d-%Y %I:%M %p", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M")


class ExportError(Exception):
    """The file is not such an export; the text is one line for the person who chose it."""


@dataclass(frozen=True)
class Export:
    """What a file holds: readings as the gateway API takes them, in order of time, by serial number of the device."""

    unit: str
    period_ms: int
    readings: dict[str, list[dict[str, Any]]]
    skipped: int  # rows that are no glucose readings: meals, insulin, alerts, settings


def clarity(lines: Iterable[str], zone: tzinfo) -> Export:
    """A Dexcom Clarity export: a reading every five minutes, in local time of `zone`. Raises ExportError."""
    rows = csv.DictReader(lines)
    names = rows.fieldnames or ()
    time = _column(names, "Timestamp")
    value = _column(names, "Glucose Value")
    device = _column(names, "Transmitter ID", "Source Device ID")
    return _export(
        value,
        5,
        ((row[device], row[time], row[value], (row.get("Event Type") or "").upper() == "EGV") for row in rows),
        zone,
        ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"),
    )


def libreview(lines: Iterable[str], zone: tzinfo) -> Export:
    """A LibreView export: the stored values, one every fifteen minutes, in local time of `zone`. Raises ExportError."""
    remaining = iter(lines)
    for line in remaining:  # the first line names the report
        if "Device Timestamp" in line:
            break
    else:
        raise ExportError("no column Device Timestamp: not a LibreView export")
    names = next(csv.reader([line]))
    rows = csv.DictReader(remaining, fieldnames=names)
    value = _column(names, "Historic Glucose")
    found = (
        (row["Serial Number"], row["Device Timestamp"], row[value], row["Record Type"] == "0" and bool(row[value]))
        for row in rows
    )
    return _export(value, 15, found, zone, _LIBRE_TIMES)


def _column(names: Iterable[str], *wanted: str) -> str:
    """The first column whose name begins like one of `wanted`."""
    for start in wanted:
        for name in names:
            if name.startswith(start):
                return name
    raise ExportError(f"no column {wanted[0]}: another kind of file")


def _export(
    value_column: str, minutes: int, rows: Iterator[tuple[str, str, str, bool]], zone: tzinfo, forms: tuple[str, ...]
) -> Export:
    readings: dict[str, list[dict[str, Any]]] = {}
    skipped = 0
    for serial, moment, value, is_reading in rows:
        time = _instant(moment, zone, forms) if is_reading else None
        if time is None:
            skipped += 1
            continue
        readings.setdefault(serial.strip() or "unknown", []).append({"time": time, "value": _value(value)})
    if not readings:
        raise ExportError("no glucose readings in this file")
    for own in readings.values():
        own.sort(key=lambda reading: str(reading["time"]))
    unit = "mmol/L" if "mmol" in value_column else "mg/dL"
    return Export(unit, minutes * 60_000, readings, skipped)


def _value(text: str) -> float | str:
    word = _LIMITS.get(text.strip().lower())
    return word if word else float(text.replace(",", "."))


def _instant(text: str, zone: tzinfo, forms: tuple[str, ...]) -> str | None:
    """A local time as RFC 3339 instant; an hour that occurs twice is taken to be the first one."""
    for form in forms:
        try:
            local = datetime.strptime(text.strip(), form)
        except ValueError:
            continue
        return local.replace(tzinfo=zone).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None
