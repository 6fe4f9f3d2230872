"""CSV exports of Medtronic CareLink, English and German: sections of pump and sensor, each with a heading. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from itertools import pairwise

from ddr.imports.columns import Table, tables
from ddr.imports.content import Content, Row
from ddr.imports.glucose import Reading, glucose_file
from ddr.imports.makers import MEDTRONIC, METER
from ddr.imports.model import GLUCOSE_METER, ImportFile, Source, of_one_person
from ddr.imports.numbers import glucose_unit

_COLUMNS = {
    "index": ("index$",),
    "date": ("date$", "datum$"),
    "clock": ("time$", "uhrzeit$", "zeit$"),
    "value": ("sensor glucose", "sensorglukose", "sensorglucose"),
    "meter": ("bg reading", "messwert des blutzuckermessgeräts", "bz-messwert"),
}
_RULE = "-------"
_NAMES = (("last name", "first name"), ("nachname", "vorname"))  # followed by the person's name


def tables_of(content: Content) -> Iterator[Table]:
    """The tables of a CareLink export."""
    return tables(content, _COLUMNS, lambda found: {"index", "date", "clock"} <= found.keys() and "value" in found)


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The values of the sensor and of a meter, in local time of `zone`."""
    readings, skipped = [], 0
    named = (below for above, below in pairwise(content.rows) if _first_two(above) in _NAMES)
    of_one_person(_first_two(row) for row in named)
    for table in tables_of(content):
        serial = _serial(content.rows, table.rows)
        sensor = Source(MEDTRONIC.manufacturer, MEDTRONIC.name, serial, MEDTRONIC.type)
        meter = Source(METER.manufacturer, METER.name, "", GLUCOSE_METER)
        for row in table.rows:
            if row.cells[0].startswith(_RULE):
                continue
            found = False
            for column, source, maker in (("value", sensor, MEDTRONIC), ("meter", meter, METER)):
                if column in table and (text := table.amount(row, column)):
                    unit, found = glucose_unit(table.title(column)), True
                    readings.append(
                        Reading(row.line, table.moment(row), text, unit, source, maker, meter=column == "meter")
                    )
            skipped += not found
    return glucose_file("carelink", readings, zone, skipped)


def _first_two(row: Row) -> tuple[str, ...]:
    return tuple(map(str.casefold, row.cells[:2]))


def _serial(rows: Sequence[Row], below: Sequence[Row]) -> str:
    """The serial number in the ruled line above a section: `-------;MiniMed 780G;Sensor;NG123;-------`."""
    first = below[0].line if below else 0
    ruled = [row for row in rows if row.cells[0].startswith(_RULE) and row.line < first]
    cells = [cell for cell in ruled[-1].cells if cell and not cell.startswith(_RULE)] if ruled else []
    return cells[-1] if len(cells) > 2 else ""
