"""Entries of Nightscout as JSON, also from xDrip, AAPS and Loop: `sgv` of sensors, `mbg` of meters. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any, TypeGuard

from ddr.imports.content import Content
from ddr.imports.makers import METER, maker_of
from ddr.imports.model import CGM, GLUCOSE_METER, HIGH, LOW, ImportFile, Source, Value
from ddr.imports.model import METER as METER_CODES
from ddr.imports.numbers import implausible
from ddr.imports.times import instants

_UNIT = "mg/dL"  # whatever a site displays, its entries are in mg/dL
_DIGITS = 10  # a number with more digits is not a value
_LOW, _HIGH = 39, 401  # how Dexcom's receivers, and all that imitate them, write below 40 and above 400


def recognises(content: Content) -> bool:
    """True for a list of entries, or for a document with one."""
    return any(isinstance(entry, dict) and ("sgv" in entry or "mbg" in entry) for entry in _entries(content))


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The values; entries have instants, so `zone` is not needed. `line` counts entries."""
    file, entries = ImportFile("nightscout"), _entries(content)
    beyond = {str(one.get("device") or "") for one in entries if isinstance(one, dict) and _is_above(one.get("sgv"))}
    for number, entry in enumerate(entries, 1):
        kind = next((kind for kind in ("sgv", "mbg") if isinstance(entry, dict) and kind in entry), None)
        if kind is None:
            file.skipped += 1
            continue
        _take(file, number, entry, kind, beyond)
    return file


def _is_above(raw: Any) -> bool:
    """True for a number above what Dexcom's receivers write: this sensor measures higher values, and 401 is one."""
    return _is_number(raw) and raw > _HIGH


def _entries(content: Content) -> list[Any]:
    found = content.json
    if isinstance(found, dict):
        found = found.get("entries") or found.get("data")
    return found if isinstance(found, list) else []


def _take(file: ImportFile, number: int, entry: dict[str, Any], kind: str, beyond: Collection[str]) -> None:
    time_ms, raw = _time_ms(entry), _number(entry[kind])
    if time_ms is None:
        file.reject(number, "no date in milliseconds")
    elif raw is None:
        file.reject(number, f"{kind} is not a number")
    elif kind == "mbg":
        source = Source(METER.manufacturer, METER.name, "", GLUCOSE_METER)
        _add(file, number, time_ms, METER_CODES[_UNIT], Decimal(str(raw)), source)
    elif raw < _LOW:  # lower numbers are codes of the receiver: no signal, warming up
        file.reject(number, f"sgv {raw} is a code, not a value")
    else:
        device = str(entry.get("device") or "")
        maker = maker_of(device)
        source = Source(maker.manufacturer, (device or maker.name)[:100], "", maker.type)
        value: Decimal | str = Decimal(str(raw))
        if raw == _LOW:
            value = LOW
        elif raw == _HIGH and (maker.limits[_UNIT][1] == _HIGH - 1 if maker.limits else device not in beyond):
            value = HIGH
        if maker.limits:
            file.limit(source, maker.limits)
        _add(file, number, time_ms, CGM[_UNIT], value, source)


def _time_ms(entry: dict[str, Any]) -> int | None:
    found = entry.get("date", entry.get("mills"))
    if found is None:
        (found,) = instants([str(entry.get("dateString") or entry.get("sysTime") or "")], [""], UTC)
    return int(found) if _is_number(found) and 0 < found < 10**14 else None


def _number(raw: Any) -> int | float | None:
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < _DIGITS:
        return int(raw)
    return raw if _is_number(raw) else None


def _is_number(raw: Any) -> TypeGuard[int | float]:
    return isinstance(raw, (int, float)) and not isinstance(raw, bool)


def _add(file: ImportFile, number: int, time_ms: int, code: str, value: Decimal | str, source: Source) -> None:
    if isinstance(value, Decimal) and (reason := implausible(value, _UNIT)):
        file.reject(number, reason)
        return
    file.values.append(Value(number, time_ms, code, _UNIT, value, source))
