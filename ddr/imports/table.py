"""The neutral table `time,code,value,unit,device,serial`: anybody can make it, and the patient's own export has this
form.

`time` is RFC 3339, or local; `code` is LOINC and may be missing when the unit determines it (mg/dL, mmol/L: a sensor's
value); `value` is a number, or L or U beyond a sensor's range; the parts of a blood pressure are rows with the same
time and device. Further columns do no harm. docs/imports.md describes it for people. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import NamedTuple

from ddr.imports.columns import Table, tables
from ddr.imports.content import Content
from ddr.imports.makers import GERMAN, UNNAMED, USUAL_LIMITS, Limits, Maker, maker_of
from ddr.imports.model import (
    BLOOD,
    BLOOD_GLUCOSE,
    CGM,
    CUFF,
    DIASTOLIC,
    FEV1,
    GLUCOSE_METER,
    METER,
    MMHG,
    PANEL,
    PEAK_FLOW_METER,
    PEF,
    PLASMA,
    PRESSURES,
    SPIROMETER,
    SYSTOLIC,
    ImportFile,
    Source,
    Sources,
    Value,
    of_one_person,
)
from ddr.imports.numbers import beyond, doubtful, implausible, number, single, within_limits
from ddr.imports.times import instants

COLUMNS = ("time", "code", "value", "unit", "device", "serial")
_COLUMNS = {
    "time": ("time", "zeit", "datetime", "timestamp", "zeitpunkt"),
    "code": ("code", "loinc"),
    "value": ("value", "wert", "gl$"),
    "unit": ("unit", "einheit"),
    "device": ("device$", "device name", "gerät", "geraet"),
    "serial": ("serial", "seriennummer"),
    "manufacturer": ("manufacturer", "hersteller"),
    "person": ("patient", "patient_id", "person", "subject", "user_id", "userid"),
    "shown": ("shown", "gezeigt"),
    "exact": ("zeit (utc)",),
    "device_type": ("device_type", "geräteart"),
    "lower_limit": ("lower_limit", "untergrenze"),
    "upper_limit": ("upper_limit", "obergrenze"),
}
_TOLD = ("manufacturer", "device_type", "lower_limit", "upper_limit")  # further columns of the patient's own export
# Where a spreadsheet may see a formula: at the beginning of a text, or, as a German one splits a file at semicolons and
# an English one at commas whatever is meant, behind one of these within it.
_SIGN = "[-=+@＝＋－＠\\t\\r\\n]"
FORMULA = re.compile(f'^(?={_SIGN})|(?<=[,;])(?="*{_SIGN})')
_APOSTROPHE = re.compile(f"^'(?={_SIGN})|(?<=[,;])'(?=\"*{_SIGN})")
UNITS = {"mg/dl": "mg/dL", "mmol/l": "mmol/L", "mmhg": MMHG, MMHG.casefold(): MMHG, "l/min": "L/min", "l": "L"}
CODES = {
    **{code: (unit,) for unit, code in CGM.items()},
    **{code: (unit,) for codes in (METER, BLOOD, PLASMA) for unit, code in codes.items()},
    **dict.fromkeys(PRESSURES, (MMHG,)),
    PEF: ("L/min",),
    FEV1: ("L",),
}


class Cells(NamedTuple):
    """A row of the table as texts."""

    line: int
    time: str
    code: str
    value: str
    unit: str
    device: str = ""
    serial: str = ""
    manufacturer: str = ""
    device_type: str = ""
    lower_limit: str = ""
    upper_limit: str = ""


def tables_of(content: Content) -> Iterator[Table]:
    """The tables with the columns time, value and unit."""
    return tables(content, _COLUMNS, lambda found: {"time", "value", "unit"} <= found.keys())


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The values; a time without a zone is local in `zone`."""
    found = list(tables_of(content))
    of_one_person(table.cell(row, "person") for table in found for row in table.rows)
    rows, cut, left = [], [], 0
    for table in found:
        texts = table.cells((*COLUMNS, *_TOLD, "shown", "exact"))
        for row, (time, *told, shown, exact) in zip(table.rows, texts, strict=True):
            cells = Cells(row.line, exact if exact.endswith("Z") else time, *told)
            if (amount := table.amount(row, "value")) != cells.value:
                cut.append((row.line, f"no value: {amount}"))
            elif _left_out(cells, shown):
                left += 1
            else:
                rows.append(cells)
    file = read_cells("table", rows, zone)
    file.skipped += left
    for line, reason in cut:
        file.reject(line, reason)
    return file


def _left_out(row: Cells, shown: str) -> bool:
    """True for rows of a patient's export that are not values: entered in error, or failed measurements."""
    return row.value == "E" if row.code in CGM.values() else shown in ("no", "nein") or not (row.value or row.unit)


def read_cells(name: str, rows: Sequence[Cells], zone: tzinfo) -> ImportFile:
    """The file made from `rows`, also from those that a --map makes of another table."""
    file, sources = ImportFile(name), Sources()
    times = instants([row.time for row in rows], [(row.serial, row.device, row.code) for row in rows], zone)
    parts: dict[tuple[int, Source], list[tuple[int, str, Decimal]]] = defaultdict(list)
    for row, time_ms in zip(rows, times, strict=True):
        if not (row.value or row.time):
            file.skipped += 1
            continue
        found = _checked(row, time_ms, sources)
        if isinstance(found, str):
            file.reject(row.line, found[:120], len(parts))
        elif found.code in PRESSURES and isinstance(found.value, Decimal):
            parts[found.time_ms, found.source].append((row.line, found.code, found.value))
        else:
            file.values.append(found)
            limits = _limits(row, found.unit) or maker_of(f"{row.manufacturer} {row.device}").limits
            if found.continuous and limits:
                file.limit(found.source, limits)
    _panels(file, parts)
    return file


def _checked(row: Cells, time_ms: int | None, sources: Sources) -> Value | str:
    """The value of a row, or why it has none."""
    if time_ms is None:
        return f"no time: {row.time or 'empty'}"
    unit = UNITS.get(row.unit.casefold(), row.unit)
    code = row.code or CGM.get(unit, "")
    if code not in CODES:
        return f"unknown code: {code or 'none'}; known are {', '.join(CODES)}"
    if unit not in CODES[code]:
        return f"{code} is measured in {' or '.join(CODES[code])}, not in {unit or 'no unit'}"
    sign = beyond(row.value) or (row.value if row.value in ("L", "U") else None)
    value: Decimal | str | None = sign or number(row.value)
    if value is None:
        return f"no value: {row.value or 'empty'}"
    comparator = ""
    if isinstance(value, str) and code not in CGM.values():
        found = single(row.value)
        if found is None or code in PRESSURES:
            return "a single value must be a number"
        comparator, value = found
    elif isinstance(value, str):
        maker = maker_of(f"{row.manufacturer} {row.device}")
        limits = _limits(row, unit) or maker.limits or USUAL_LIMITS
        if reason := within_limits(row.value, limits[unit]):
            return reason
    if isinstance(value, Decimal) and (reason := doubtful(row.value, unit) or implausible(value, unit)):
        return reason
    return Value(row.line, time_ms, code, unit, value, _source(row, code, sources), comparator=comparator)


def _limits(row: Cells, unit: str) -> Limits | None:
    lower, upper = number(row.lower_limit), number(row.upper_limit)
    return None if lower is None or upper is None else {unit: (lower, upper)}


def bare(text: str) -> str:
    """A text without the apostrophes that the patient's own export puts before what looks like a formula."""
    return _APOSTROPHE.sub("", text)


def _source(row: Cells, code: str, sources: Sources) -> Source:
    device, manufacturer = (GERMAN.get(told, told) for told in map(bare, (row.device, row.manufacturer)))
    maker: Maker = maker_of(f"{manufacturer} {device}")
    kind = row.device_type if row.device_type.isdecimal() else type_of(code, maker.type)
    name = device or UNNAMED.get(kind, maker.name)
    return sources((manufacturer or maker.manufacturer)[:100], name[:100], bare(row.serial), kind)


_TYPES = {
    CUFF: PRESSURES,
    GLUCOSE_METER: BLOOD_GLUCOSE,
    PEAK_FLOW_METER: (PEF,),
    SPIROMETER: (FEV1,),
}


def type_of(code: str, otherwise: str) -> str:
    """The type of the device that measures this code, `otherwise` for a sensor's."""
    return next((kind for kind, codes in _TYPES.items() if code in codes), otherwise)


class _Panel(NamedTuple):
    """An incomplete blood pressure: the line of its first row, and its values by code."""

    line: int
    values: dict[str, Decimal]


def _panels(file: ImportFile, parts: Mapping[tuple[int, Source], Sequence[tuple[int, str, Decimal]]]) -> None:
    """Rows of blood pressure with the same time and device are one measurement, or several, one after another: three in
    a minute are usual. Upper and lower values are never combined from different ones."""
    for (time_ms, source), rows in parts.items():
        found = [_Panel(rows[0][0], {})]
        for line, code, value in rows:
            if code in found[-1].values:
                found.append(_Panel(line, {}))
            found[-1].values[code] = value
        if len({(code, value) for _, code, value in rows}) == len({code for _, code, _ in rows}):
            found = [_Panel(rows[0][0], {code: value for _, code, value in rows})]  # a repetition
        if not all({SYSTOLIC, DIASTOLIC} <= one.values.keys() for one in found):
            few = "a blood pressure needs an upper and a lower value"
            several = "it is unclear which upper and lower values of this time belong together"
            file.reject(rows[0][0], several if len(found) > 1 else few, len(parts))
            continue
        seen = set[tuple[tuple[str, Decimal], ...]]()
        for line, by_code in found:
            ordered = tuple((code, by_code[code]) for code in PRESSURES if code in by_code)
            if ordered not in seen:
                file.values.append(Value(line, time_ms, PANEL, MMHG, None, source, ordered))
            seen.add(ordered)
