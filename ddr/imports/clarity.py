"""CSV exports of Dexcom Clarity, English and German: an estimated glucose value (EGV) every five minutes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import tzinfo

from ddr.imports.columns import Table, tables
from ddr.imports.content import Content, Row
from ddr.imports.glucose import Reading, glucose_file, is_other
from ddr.imports.makers import DEXCOM
from ddr.imports.model import ImportFile, Sources, of_one_person
from ddr.imports.numbers import glucose_unit

_COLUMNS = {
    "time": ("timestamp", "zeitstempel"),
    "event": ("event type$", "event type", "ereignistyp"),
    "value": ("glucose value", "glukosewert", "glucosewert"),
    "ticks": ("transmitter time", "transmitterzeit", "transmitter-zeit", "sender-zeit"),
    "serial": ("transmitter id", "transmitter-id", "sender-id"),
    "patient": ("patient info", "patienteninfo"),
    "phone": ("source device id", "quellgerät-id", "quellgeräte-id", "id des quellgeräts"),
}
_NAMES = (("firstname", "vorname"), ("lastname", "nachname"))  # kinds of rows
_DIGITS = 13  # a longer number is not seconds
_EGV = {"egv", "ggw", "estimated glucose value", "geschätzter glukosewert", "geschätzte glukosewerte"}


def tables_of(content: Content) -> Iterator[Table]:
    """The tables of a Clarity export."""
    return tables(content, _COLUMNS, lambda found: {"time", "event", "value", "phone"} <= found.keys())


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The estimated glucose values, in local time of `zone`; other kinds of rows are skipped."""
    readings, skipped = [], 0
    sources, found = Sources(), list(tables_of(content))
    about = [(_kind(table, row), told) for table in found for row in table.rows if (told := table.cell(row, "patient"))]
    for names in _NAMES:
        of_one_person(told.casefold() for kind, told in about if kind in names)
    for table in found:
        unit, events = glucose_unit(table.title("value")), _events(table)
        for row in table.rows:
            if _kind(table, row) not in events:
                skipped += 1
                continue
            source = sources(DEXCOM.manufacturer, DEXCOM.name, table.cell(row, "serial"), DEXCOM.type)
            ticks = table.cell(row, "ticks")
            tick = int(ticks) if ticks.isdecimal() and len(ticks) < _DIGITS else None
            text = table.amount(row, "value")
            readings.append(Reading(row.line, table.moment(row), text, unit, source, DEXCOM, tick=tick))
    return glucose_file("clarity", readings, zone, skipped)


def _kind(table: Table, row: Row) -> str:
    return table.cell(row, "event").casefold()


def _events(table: Table) -> set[str]:
    """The words for an EGV; in an unknown language, the kind of row that has most of the values."""
    kinds = Counter(
        kind for row in table.rows if table.cell(row, "value") and (kind := _kind(table, row)) and not is_other(kind)
    )
    return _EGV if not kinds or _EGV & kinds.keys() else {kinds.most_common(1)[0][0]}
