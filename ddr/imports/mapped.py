"""Tables of any other form, described by a TOML file: columns, unit, zone, code (`ddr import --map`). Pure.

[columns]            # names as in the heading; time and value are needed
time = "Messzeit"
value = "Wert"
serial = "Sensor"    # also: code, unit, device, manufacturer
[fixed]              # for what no column says
unit = "mg/dL"
code = "99504-3"
device = "Sensor X"
zone = "Europe/Berlin"
"""

from __future__ import annotations

import io
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ddr.imports.columns import ENDS, cut_in_two
from ddr.imports.content import Content, Row
from ddr.imports.model import ImportFile, ImportFileError
from ddr.imports.table import Cells, read_cells

_MEANINGS = ("time", "code", "value", "unit", "device", "serial", "manufacturer")
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class ColumnMap:
    """The content of a --map file."""

    columns: Mapping[str, str]
    fixed: Mapping[str, str]
    zone: tzinfo | None


def load(text: str) -> ColumnMap:
    """Read a --map file. Raises ImportFileError that says what is wrong in it."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ImportFileError(f"the map is not TOML: {error}") from None
    columns, fixed = found.pop("columns", {}), found.pop("fixed", {})
    texts = isinstance(columns, dict) and isinstance(fixed, dict)
    if found or not texts or not all(isinstance(one, str) for one in (*columns.values(), *fixed.values())):
        raise ImportFileError("the map has the tables [columns] and [fixed] with texts, and nothing else")
    zone = fixed.pop("zone", None)
    if unknown := {*columns, *fixed} - set(_MEANINGS):
        raise ImportFileError(f"the map names {', '.join(sorted(unknown))}; known are {', '.join(_MEANINGS)}, zone")
    if missing := {"time", "value"} - columns.keys():
        raise ImportFileError(f"the map does not say which column is {' and '.join(sorted(missing))}")
    try:
        return ColumnMap(columns, fixed, ZoneInfo(zone) if zone else None)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # "Europe", for instance, is a folder of zones
        raise ImportFileError(f"the map names an unknown time zone, {zone}") from None


def read(content: Content, mapping: ColumnMap, zone: tzinfo) -> ImportFile:
    """The values of a CSV or Parquet file that `mapping` describes. Raises ImportFileError."""
    heading, rows = _parquet(content.raw) if content.raw.startswith(_PARQUET) else _csv(content, mapping)
    if missing := set(mapping.columns.values()) - set(heading):
        raise ImportFileError(f"there is no column {', '.join(sorted(missing))}; the file has {', '.join(heading)}")
    if twice := [name for name in mapping.columns.values() if heading.count(name) > 1]:
        raise ImportFileError(
            f"the file has several columns {', '.join(sorted(twice))}; it is unclear which one is meant"
        )
    places = {meaning: heading.index(name) for meaning, name in mapping.columns.items()}
    cells = [
        Cells(line, *(row[places[name]] if name in places else mapping.fixed.get(name, "") for name in _MEANINGS))
        for line, row in rows
    ]
    file = read_cells("mapped", cells, mapping.zone or zone)
    file.leave_wrong_clocks()
    return file


def _csv(content: Content, mapping: ColumnMap) -> tuple[list[str], Sequence[tuple[int, list[str]]]]:
    wanted = set(mapping.columns.values())
    for at, row in enumerate(content.rows):
        if wanted <= set(row.cells):
            width, value = len(row.cells), row.cells.index(mapping.columns["value"])
            return list(row.cells), [
                (one.line, _as_wide(one.cells, width, value, content.separator, one is content.cut_off))
                for one in _below(row, content.rows[at + 1 :], row.cells.index(mapping.columns["time"]))
            ]
    return (list(content.rows[0].cells) if content.rows else []), []


def _below(heading: Row, rows: Iterable[Row], time: int) -> Iterator[Row]:
    """The rows of the table; below another heading the same columns contain other numbers."""
    ours = True
    for row in rows:
        if row.cells[time : time + 1] == heading.cells[time : time + 1]:
            ours = [*filter(None, row.cells)] == [*filter(None, heading.cells)]
        elif ours:
            yield row


def _as_wide(cells: Sequence[str], width: int, value: int, separator: str, last: bool) -> list[str]:
    """A row as wide as the heading. Its value is replaced by a text where an unquoted comma may have split it, and in
    the `last` row, in which the file breaks off."""
    wide = [*cells, *[""] * width][:width]
    broken = last and len(cells) < width
    wide[value] = ENDS if broken else cut_in_two(cells, value, width, separator) or wide[value]
    return wide


def _parquet(raw: bytes) -> tuple[list[str], Sequence[tuple[int, list[str]]]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise ImportFileError("a Parquet file needs pyarrow: pip install 'ddr[parquet]'") from None
    try:
        table = parquet.read_table(io.BytesIO(raw))
    except (ArrowInvalid, OSError) as error:
        raise ImportFileError(f"the Parquet file cannot be read: {str(error).splitlines()[0]}") from None
    columns = [[_text(value) for value in table.column(name).to_pylist()] for name in table.column_names]
    return list(table.column_names), [(line, list(row)) for line, row in enumerate(zip(*columns, strict=True), 1)]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)
