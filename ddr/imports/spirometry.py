"""Diaries and exports of lung function as tables: peak flow (PEF) in L/min or L/s, FEV1 in L. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from decimal import Decimal
from functools import partial

from ddr.imports.content import Content, Row, Table, tables
from ddr.imports.model import FEV1, PEAK_FLOW_METER, PEF, SPIROMETER, ImportFile, Source, Value
from ddr.imports.numbers import doubtful, implausible, number
from ddr.imports.times import instants

_COLUMNS = {
    "time": ("date/time", "datum/uhrzeit", "timestamp", "zeitstempel", "test date", "date and time", "messdatum"),
    "date": ("date", "datum"),
    "clock": ("time$", "uhrzeit", "zeit$"),
    PEF: ("pef", "peak flow", "peak expiratory flow", "peak-flow", "peakflow"),
    FEV1: ("fev1", "fev 1", "fev-1", "ekk", "einsekundenkapazität"),
    "device": ("device$", "gerät$", "model", "modell"),
    "manufacturer": ("manufacturer", "hersteller"),
    "serial": ("serial", "seriennummer"),
}
_UNITS = {PEF: "L/min", FEV1: "L"}


def recognises(content: Content) -> bool:
    """True for a table with peak flow or FEV1."""
    return any(_tables(content))


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The measurements, in local time of `zone`; quality grades and other parameters have no MIV and are left."""
    file = ImportFile("spirometry")
    for table in _tables(content):
        _read(file, table, zone)
    return file


def _read(file: ImportFile, table: Table, zone: tzinfo) -> None:
    texts = [table.moment(row) for row in table.rows]
    for row, text, time_ms in zip(table.rows, texts, instants(texts, [""] * len(texts), zone), strict=True):
        cells = {code: table.amount(row, code) for code in _UNITS if table.cell(row, code)}
        if not cells:
            file.skipped += 1
        elif time_ms is None:
            file.reject(row.line, f"no time: {text or 'empty'}"[:80])
        else:
            for code, cell in cells.items():
                _take(file, table, row, time_ms, code, cell)


def _take(file: ImportFile, table: Table, row: Row, time_ms: int, code: str, cell: str) -> None:
    value, unit = number(cell), _UNITS[code]
    if value is None:
        file.reject(row.line, f"no value: {cell}"[:80])
        return
    converted = partial(_in_unit, title=table.title(code), code=code)
    value = converted(value)
    if reason := doubtful(cell, unit, converted) or implausible(value, unit):
        file.reject(row.line, reason)
        return
    kind = SPIROMETER if FEV1 in table else PEAK_FLOW_METER
    name = table.cell(row, "device") or ("Spirometer" if kind == SPIROMETER else "Peak flow meter")
    maker = table.cell(row, "manufacturer") or "not stated in the export"
    source = Source(maker[:100], name[:100], table.cell(row, "serial"), kind)
    file.values.append(Value(row.line, time_ms, code, unit, value, source))


def _in_unit(value: Decimal, title: str, code: str) -> Decimal:
    """`value` of a column in L/s or mL in the unit of its code."""
    told = title.casefold().replace(" ", "")
    if code == PEF and ("l/s" in told or (value < 20 and "l/min" not in told)):
        return (value * 60).normalize() + 0
    if code == FEV1 and ("ml" in told or value > 100):
        return value / 1000
    return value


def _tables(content: Content) -> Iterator[Table]:
    return tables(
        content,
        _COLUMNS,
        lambda found: (PEF in found or FEV1 in found) and ("time" in found or "date" in found),
    )
