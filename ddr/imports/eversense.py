"""CSV exports of Eversense (Senseonics): a value every five minutes while the implanted sensor is in use. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from ddr.imports.columns import Table, tables
from ddr.imports.content import Content
from ddr.imports.glucose import Reading, glucose_file, is_other
from ddr.imports.makers import SENSEONICS
from ddr.imports.model import ImportFile, Sources
from ddr.imports.numbers import glucose_unit

_COLUMNS = {
    "time": ("date/time", "date time", "datum/uhrzeit", "timestamp", "zeitstempel", "event date"),
    "date": ("date$", "datum$"),
    "clock": ("time$", "uhrzeit$", "zeit$"),
    "value": ("sensor glucose", "glucose", "sensorglukose", "glukose", "gewebeglukose"),
    "event": ("event type", "ereignistyp", "type$", "typ$"),
    "serial": ("transmitter serial", "transmitter-seriennummer", "transmitter", "serial number", "seriennummer"),
}
_NAMES = ("eversense", "senseonics")
_LINES = 40


def tables_of(content: Content) -> Iterator[Table]:
    """The tables of glucose values in a file that names Eversense."""
    head = " ".join(" ".join(row.cells) for row in content.rows[:_LINES]).casefold()
    if not any(name in head for name in _NAMES):
        return iter(())
    return tables(
        content,
        _COLUMNS,
        lambda found: "value" in found and ("time" in found or {"date", "clock"} <= found.keys()),
    )


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The sensor's values, in local time of `zone`."""
    readings, skipped = [], 0
    sources = Sources()
    for table in tables_of(content):
        unit = glucose_unit(table.title("value"))
        for row in table.rows:
            text = table.amount(row, "value")
            if not text or is_other(table.cell(row, "event")):
                skipped += 1
                continue
            source = sources(SENSEONICS.manufacturer, SENSEONICS.name, table.cell(row, "serial"), SENSEONICS.type)
            readings.append(Reading(row.line, table.moment(row), text, unit, source, SENSEONICS))
    return glucose_file("eversense", readings, zone, skipped)
