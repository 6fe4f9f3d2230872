"""Exports of LibreView (CSV) and of a reader's own software (text), English and German: stored values, scans, strips.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from ddr.imports.columns import Table, tables
from ddr.imports.content import Content
from ddr.imports.glucose import Reading, glucose_file
from ddr.imports.makers import ABBOTT
from ddr.imports.model import ImportFile, Sources
from ddr.imports.numbers import glucose_unit

_COLUMNS = {
    "device": ("device$", "gerät$"),
    "serial": ("serial number", "seriennummer"),
    "time": ("device timestamp", "gerätezeitstempel", "time$", "zeit$"),
    "record": ("record type", "aufzeichnungstyp", "art des eintrags"),
    "value": ("historic glucose", "glukosewert-verlauf", "glucosewert-verlauf", "glukose-verlauf"),
    "scan": ("scan glucose", "glukose-scan"),
    "strip": ("strip glucose", "glukose-teststreifen", "teststreifen-glukose"),
}
_STORED, _STRIP = "0", "2"  # record types; 1 is a scan, which repeats what the sensor stores anyway


def tables_of(content: Content) -> Iterator[Table]:
    """The tables of a LibreView export."""
    return tables(content, _COLUMNS, lambda found: {"time", "record", "value"} <= found.keys())


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The stored values and those of strips, in local time of `zone`; scans and everything else are skipped."""
    readings, skipped, first = [], 0, content.rows[0].cells[0]
    reader = first.removeprefix("#").strip() if first.startswith("#") else ""  # named by the reader's software
    sources = Sources()
    for table in tables_of(content):
        for row in table.rows:
            kind = table.cell(row, "record")
            column = {_STORED: "value", _STRIP: "strip"}.get(kind)
            if column is None or column not in table or not (table.cell(row, "time") and table.cell(row, column)):
                skipped += 1
                continue
            name = table.cell(row, "device") or ABBOTT.name
            source = sources(ABBOTT.manufacturer, name[:100], table.cell(row, "serial") or reader, ABBOTT.type)
            unit = glucose_unit(table.title(column))
            value = table.amount(row, column)
            readings.append(Reading(row.line, table.moment(row), value, unit, source, ABBOTT, meter=kind == _STRIP))
    return glucose_file("libreview", readings, zone, skipped)
