"""Diaries and exports of lung function as tables: peak flow (PEF) in L/min or L/s, FEV1 in L. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import tzinfo
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from ddr.imports.columns import ENDS, NUMBERED, Table, tables
from ddr.imports.content import Content, Row
from ddr.imports.makers import NOT_STATED, UNNAMED
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
_ROUNDED = {PEF: Decimal(3), FEV1: Decimal("0.05")}  # the rounding difference between one value in two units
_UNIT = r"[\s(\[]*(?:(?:ml|l)(?: ?/ ?(?:min|s|sec|sek))?\.?)?[\s)\]]*"
_PLAIN, _ATTEMPT = re.compile(_UNIT), re.compile(NUMBERED + _UNIT)


def tables_of(content: Content) -> Iterator[Table]:
    """The tables with peak flow or FEV1."""
    return tables(
        content,
        _COLUMNS,
        lambda found: (PEF in found or FEV1 in found) and ("time" in found or "date" in found),
    )


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The measurements, in local time of `zone`; quality grades and other parameters have no MIV and are ignored."""
    file = ImportFile("spirometry")
    for table in tables_of(content):
        _read(file, table, zone)
    return file


class _Columns(NamedTuple):
    """The columns with values of a code; `attempts`: several blows at one time, each a value of its own. Otherwise the
    values in a row count as equal when they differ by at most `rounded`."""

    places: tuple[int, ...]
    attempts: bool
    rounded: Decimal


def _read(file: ImportFile, table: Table, zone: tzinfo) -> None:
    texts = [table.moment(row) for row in table.rows]
    columns = {code: _columns(table, code) for code in _UNITS}
    for row, text, time_ms in zip(table.rows, texts, instants(texts, [""] * len(texts), zone), strict=True):
        cells = {code: _filled(table, row, columns[code]) for code in _UNITS}
        if not any(cells.values()):
            file.skipped += 1
        elif table.ends_in(row):
            file.reject(row.line, ENDS)
        elif time_ms is None:
            file.reject(row.line, f"no time: {text or 'empty'}"[:80])
        else:
            for code, found in cells.items():
                where = columns[code]
                for at in found if where.attempts else _one(file, table, row, code, where, found):
                    _take(file, table, row, time_ms, code, at, found[at])


def _columns(table: Table, code: str) -> _Columns:
    """The columns whose titles contain only name and unit; else those with numbers; else all that begin with the name,
    with at most one value per row, since only one of a morning's and an evening's value can belong to the row's
    time."""
    found = table.alike(code)
    plain = tuple(at for at, rest in found.items() if _PLAIN.fullmatch(rest))
    attempts = tuple(at for at, rest in found.items() if _ATTEMPT.fullmatch(rest))
    several_units = len({found[at] for at in plain}) > 1
    return _Columns(
        plain or attempts or tuple(found), bool(attempts and not plain), _ROUNDED[code] if several_units else Decimal(0)
    )


def _filled(table: Table, row: Row, columns: _Columns) -> dict[int, str]:
    return {at: cell for at in columns.places if (cell := table.amount_at(row, at))}


def _one(file: ImportFile, table: Table, row: Row, code: str, columns: _Columns, cells: dict[int, str]) -> list[int]:
    """The first of several columns when all numbers are equal; else none, and a bad row."""
    numbers = {at: value for at, cell in cells.items() if (value := number(cell)) is not None}
    same = [_in_unit(value, table.title_at(at), code) for at, value in numbers.items()]
    if len(same) < 2 or max(same) - min(same) <= columns.rounded:
        return [*(numbers or cells)][:1]
    file.reject(row.line, table.several(numbers))
    return []


def _take(file: ImportFile, table: Table, row: Row, time_ms: int, code: str, at: int, cell: str) -> None:
    value, unit = number(cell), _UNITS[code]
    if value is None:
        file.reject(row.line, f"no value: {cell}"[:80])
        return
    converted = partial(_in_unit, title=table.title_at(at), code=code)
    value = converted(value)
    if reason := doubtful(cell, unit, converted) or implausible(value, unit):
        file.reject(row.line, reason)
        return
    kind = SPIROMETER if FEV1 in table else PEAK_FLOW_METER
    name = table.cell(row, "device") or UNNAMED[kind]
    maker = table.cell(row, "manufacturer") or NOT_STATED.manufacturer
    source = Source(maker[:100], name[:100], table.cell(row, "serial"), kind)
    file.values.append(Value(row.line, time_ms, code, unit, value, source))


def _in_unit(value: Decimal, title: str, code: str) -> Decimal:
    """`value` from a column in L/s or mL, in the unit of its code."""
    told = title.casefold().replace(" ", "")
    if code == PEF and ("l/s" in told or (value < 20 and "l/min" not in told)):
        return (value * 60).normalize() + 0
    if code == FEV1 and ("ml" in told or value > 100):
        return value / 1000
    return value
