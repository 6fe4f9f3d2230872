"""Data points of Open mHealth as JSON: blood glucose and blood pressure in its schemas. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from ddr.imports.content import Content
from ddr.imports.makers import METER, NOT_STATED, UNNAMED
from ddr.imports.model import (
    BLOOD,
    CGM,
    CUFF,
    DIASTOLIC,
    MMHG,
    PANEL,
    PLASMA,
    SYSTOLIC,
    ImportFile,
    Source,
    Value,
    of_one_person,
)
from ddr.imports.model import METER as METER_CODES
from ddr.imports.numbers import implausible
from ddr.imports.times import instants

# In the schemas blood-glucose 1 (blood_specimen_type) and later ones (specimen_source).
_SPECIMENS = {
    "interstitial fluid": CGM,
    "capillary blood": METER_CODES,
    "whole blood": BLOOD,
    "plasma": PLASMA,
    "serum": PLASMA,
}
_PRESSURES = {SYSTOLIC: "systolic_blood_pressure", DIASTOLIC: "diastolic_blood_pressure"}


def recognises(content: Content) -> bool:
    """True for a data point or a list of them."""
    return any("blood_glucose" in body or "systolic_blood_pressure" in body for body in _bodies(content.json))


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The values. The schema requires a zone in times; if it is missing, `zone` is used."""
    file, bodies = ImportFile("open-mhealth"), _bodies(content.exact_json)
    of_one_person(_users(content.json))
    times = instants([_time(body) for body in bodies], [""] * len(bodies), zone)
    for line, (body, time_ms) in enumerate(zip(bodies, times, strict=True), 1):
        if not _is_value(body):
            file.skipped += 1
        elif time_ms is None:
            file.reject(line, "no effective_time_frame")
        elif "blood_glucose" in body:
            _glucose(file, line, time_ms, body)
        else:
            _pressure(file, line, time_ms, body)
    return file


def _bodies(found: Any) -> Sequence[dict[str, Any]]:
    points = found if isinstance(found, list) else [found]
    bodies = (one.get("body", one) for one in points if isinstance(one, dict))
    return [body for body in bodies if isinstance(body, dict)]


def _users(found: Any) -> Sequence[str]:
    points = found if isinstance(found, list) else [found]
    headers = [one.get("header") for one in points if isinstance(one, dict)]
    return [str(header.get("user_id") or "") for header in headers if isinstance(header, dict)]


def _time(body: dict[str, Any]) -> str:
    frame = body.get("effective_time_frame")
    frame = frame if isinstance(frame, dict) else {}
    interval = frame.get("time_interval")
    interval = interval if isinstance(interval, dict) else {}
    return str(frame.get("date_time") or interval.get("start_date_time") or "")


def _is_value(body: dict[str, Any]) -> bool:
    """False for data without a MIV, and for the average or the highest value of a period, which nobody measured."""
    return ("blood_glucose" in body or "systolic_blood_pressure" in body) and not body.get("descriptive_statistic")


def _amount(quantity: Any, *units: str) -> tuple[Decimal, str] | None:
    if not isinstance(quantity, dict) or quantity.get("unit") not in units:
        return None
    value = quantity.get("value")
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        return None
    return Decimal(str(value)), quantity["unit"]


def _glucose(file: ImportFile, line: int, time_ms: int, body: dict[str, Any]) -> None:
    found = _amount(body["blood_glucose"], "mg/dL", "mmol/L")
    reason = implausible(*found) if found else "blood_glucose must have a value in mg/dL or mmol/L"
    if found is None or reason:
        file.reject(line, reason or "")
        return
    value, unit = found
    specimen = str(body.get("specimen_source") or body.get("blood_specimen_type") or "")
    if specimen and specimen not in _SPECIMENS:
        file.reject(line, f"glucose of {specimen[:40]} has no code that can be imported")
        return
    codes = _SPECIMENS.get(specimen, METER_CODES)
    maker = NOT_STATED if codes is CGM else METER
    source = Source(maker.manufacturer, maker.name, "", maker.type)
    file.values.append(Value(line, time_ms, codes[unit], unit, value, source))


def _pressure(file: ImportFile, line: int, time_ms: int, body: dict[str, Any]) -> None:
    found = {code: _amount(body.get(member), "mmHg", MMHG) for code, member in _PRESSURES.items()}
    parts = tuple((code, amount[0]) for code, amount in found.items() if amount)
    if len(parts) < len(_PRESSURES) or any(implausible(value, MMHG) for _, value in parts):
        file.reject(line, "needs a systolic and a diastolic value in mmHg")
        return
    source = Source(METER.manufacturer, UNNAMED[CUFF], "", CUFF)
    file.values.append(Value(line, time_ms, PANEL, MMHG, None, source, parts))
