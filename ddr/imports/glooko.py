"""CSV exports of Glooko, English and German: one file for the sensor, one for the meter. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from ddr.imports.columns import Table, tables
from ddr.imports.content import Content
from ddr.imports.glucose import Reading, glucose_file
from ddr.imports.makers import METER, maker_of
from ddr.imports.model import GLUCOSE_METER, ImportFile, Sources, of_one_person
from ddr.imports.numbers import glucose_unit

_COLUMNS = {
    "time": ("timestamp$", "zeitstempel$"),
    "value": ("cgm glucose value", "cgm-glukosewert", "cgm-glucosewert"),
    "meter": ("glucose value$", "glukosewert$", "glucosewert$"),
    "manual": ("manual reading", "manuelles lesen", "manuelle ablesung"),
    "serial": ("serial number", "seriennummer"),
}
_NAME = "name:"  # followed by the person's name, in the line above the headings


def tables_of(content: Content) -> Iterator[Table]:
    """The tables of a Glooko export of glucose values."""
    return tables(
        content,
        _COLUMNS,
        lambda found: "time" in found and ("value" in found or {"meter", "manual"} <= found.keys()),
    )


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The values, in local time of `zone`."""
    readings, skipped = [], 0
    beginnings = (row.cells[0].casefold() for row in content.rows)
    of_one_person(text.partition(",")[0] for text in beginnings if text.startswith(_NAME))
    sources = Sources()
    for table in tables_of(content):
        meter = "value" not in table
        column = "meter" if meter else "value"
        unit = glucose_unit(table.title(column))
        for row in table.rows:
            serial, text = table.cell(row, "serial"), table.amount(row, column)
            if not text:
                skipped += 1
                continue
            maker = METER if meter else maker_of(serial)
            source = sources(maker.manufacturer, maker.name, serial, GLUCOSE_METER if meter else maker.type)
            readings.append(Reading(row.line, table.moment(row), text, unit, source, maker, meter))
    return glucose_file("glooko", readings, zone, skipped)
