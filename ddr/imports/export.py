"""What the readers of exports share: columns by name, local times, readings by device. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

_LIMITS = {"low": "L", "lo": "L", "high": "U", "hi": "U"}


class ExportError(Exception):
    """The file is not such an export; the text is one line for the person who chose it."""


@dataclass(frozen=True)
class Export:
    """What a file holds: readings as the gateway API takes them, in order of time, by serial number of the device."""

    unit: str
    period_ms: int
    readings: dict[str, list[dict[str, Any]]]
    skipped: int  # rows that are no glucose readings: meals, insulin, alerts, settings


def column(names: Iterable[str], *wanted: str) -> str:
    """The first column whose name begins like one of `wanted`."""
    for start in wanted:
        for name in names:
            if name.startswith(start):
                return name
    raise ExportError(f"no column {wanted[0]}: another kind of file")


def export(
    value_column: str, minutes: int, rows: Iterator[tuple[str, str, str, bool]], zone: tzinfo, forms: tuple[str, ...]
) -> Export:
    """The export of `rows` (serial number, local time, value, is it a reading). Raises ExportError."""
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
