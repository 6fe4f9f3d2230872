"""JSON exports of Tidepool: `cbg` of sensors, `smbg` of meters, always written in mmol/L. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from ddr.imports.content import Content
from ddr.imports.makers import METER, USUAL_LIMITS, Maker, maker_of
from ddr.imports.model import CGM, GLUCOSE_METER, HIGH, LOW, ImportFile, Source, Value, of_one_person
from ddr.imports.model import METER as METER_CODES
from ddr.imports.numbers import implausible, within_limits
from ddr.imports.times import instants

_KINDS = ("cbg", "smbg")
_MOST = 10_000
_FACTOR = Decimal("18.01559")  # Tidepool's own, which it uses to convert mg/dL to mmol/L


def recognises(content: Content) -> bool:
    """True for a list of Tidepool's records."""
    return any(isinstance(one, dict) and str(one.get("type")) in _KINDS for one in _records(content))


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The glucose values. A device measured in mg/dL if its values have more digits than mmol/L is measured with."""
    file, records = ImportFile("tidepool"), _records(content)
    taken = [(at, one) for at, one in enumerate(records, 1) if _is_value(one)]
    of_one_person(str(one.get("userId") or one.get("_userId") or "") for _, one in taken)
    file.skipped = len(records) - len(taken)
    times = instants(
        [str(one.get("time", "")) for _, one in taken], [str(one.get("deviceId")) for _, one in taken], zone
    )
    converted = {str(one.get("deviceId")) for _, one in taken if _digits(one.get("value")) > 2}
    for (line, one), time_ms in zip(taken, times, strict=True):
        value = one.get("value")
        if time_ms is None:
            file.reject(line, "no time")
        elif not isinstance(value, int | float) or isinstance(value, bool):
            file.reject(line, "no value")
        elif str(one.get("units", "mmol/L")) not in CGM:
            file.reject(line, f"no unit of glucose: {str(one['units'])[:40]}")
        elif abs(value) > _MOST:
            file.reject(line, f"{value:g} cannot have been measured")
        else:
            _take(file, line, time_ms, one, converted)
    return file


def _records(content: Content) -> Sequence[Any]:
    found = content.json
    if isinstance(found, dict):
        found = found.get("data")
    return found if isinstance(found, list) else []


def _is_value(one: Any) -> bool:
    """True for a glucose value; a scan of a sensor is called `smbg`, and repeats what the sensor stores anyway."""
    return isinstance(one, dict) and str(one.get("type")) in _KINDS and one.get("subType") != "scanned"


def _digits(value: Any) -> int:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    exponent = Decimal(str(value)).as_tuple().exponent if numeric else 0
    return -exponent if isinstance(exponent, int) else 0


def _take(file: ImportFile, line: int, time_ms: int, one: dict[str, Any], converted: set[str]) -> None:
    device = one.get("deviceId")
    unit = "mg/dL" if str(device) in converted or one.get("units") == "mg/dL" else "mmol/L"
    amount = Decimal(str(one["value"]))
    if unit == "mg/dL" and one.get("units") != "mg/dL":
        amount = (amount * _FACTOR).quantize(Decimal(1))
    sign, limit = _beyond(one.get("annotations"))
    value: Decimal | str = sign or amount
    if isinstance(value, Decimal) and (reason := implausible(value, unit)):
        file.reject(line, reason)
        return
    meter = one["type"] == "smbg"
    if meter and isinstance(value, str):
        file.reject(line, "a single value must be a number")
        return
    source, maker = _source(str(device or ""), meter)
    if reason := within_limits(limit, (maker.limits or USUAL_LIMITS)["mg/dL"]):
        file.reject(line, reason)
        return
    if maker.limits and not meter:
        file.limits.setdefault(source, maker.limits)
    file.values.append(Value(line, time_ms, (METER_CODES if meter else CGM)[unit], unit, value, source))


def _source(device: str, meter: bool) -> tuple[Source, Maker]:
    """The source in `DexCom-G5Mob-0001-1112-…` or `abbottFreeStyleLibre-JCGS123`: the number follows the last dash."""
    maker = maker_of(device, METER if meter else maker_of(""))
    name, _, serial = device.rpartition("-")
    if not any(letter.isdigit() for letter in serial) or not name:
        name, serial = device, ""
    kind = GLUCOSE_METER if meter else maker.type
    return Source(maker.manufacturer, (name or maker.name)[:100], serial, kind), maker


def _beyond(annotations: Any) -> tuple[str, str]:
    """LOW or HIGH, and the limit, as in `<40`; both "" for a number. Thresholds are in mg/dL."""
    for one in annotations if isinstance(annotations, list) else ():
        if isinstance(one, dict) and one.get("code") == "bg/out-of-range":
            sign, comparator = {"low": (LOW, "<"), "high": (HIGH, ">")}.get(str(one.get("value")), ("", ""))
            return sign, f"{comparator}{one['threshold']}" if sign and "threshold" in one else ""
    return "", ""
