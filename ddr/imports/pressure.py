"""Diaries of blood pressure as tables: OMRON connect, Withings, and any other with an upper and a lower value. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ddr.imports.columns import ENDS, NUMBERED, Table, tables
from ddr.imports.content import Content, Row
from ddr.imports.makers import METER, UNNAMED
from ddr.imports.model import CUFF, DIASTOLIC, MEAN, MMHG, PANEL, SYSTOLIC, ImportFile, Source, Value
from ddr.imports.numbers import implausible, number
from ddr.imports.times import instants

_COLUMNS = {
    "time": (
        "measurement date",
        "date/time",
        "datum/uhrzeit",
        "timestamp",
        "zeitstempel",
        "date and time",
        "messdatum",
    ),
    "date": ("date", "datum", "time$", "zeit$"),
    "clock": ("time$", "uhrzeit", "zeit$"),
    SYSTOLIC: ("systolic", "systolisch", "systolischer", "systole", "sys", "oberer"),
    DIASTOLIC: ("diastolic", "diastolisch", "diastolischer", "diastole", "dia", "unterer"),
    MEAN: (
        *("mean arterial", "mean blood pressure", "mean pressure", "mean bp", "mean$", "map$"),
        *("mittlerer blutdruck", "mittlerer arterieller", "mittlerer druck", "mittlerer wert", "mittlerer$"),
    ),
    "zone": ("time zone", "timezone", "zeitzone"),
    "device": ("device$", "gerät$", "model", "modell"),
    "serial": ("serial", "seriennummer"),
    "heart": ("heart rate", "herzfrequenz"),
    "pulse": ("pulse", "puls"),
}
_UNIT = r"[\s(\[]*(?:mm ?\[?hg\]?)?[\s)\]]*"
_PLAIN, _NUMBERED, _ANY = re.compile(_UNIT), re.compile(NUMBERED + _UNIT), re.compile(r".*", re.DOTALL)
_MOST_ZONES = 20  # of a file: looking up an unknown zone takes a while
_WITHINGS = "heart"  # Withings writes the heart rate before the pressure, all others write a pulse after it


def tables_of(content: Content) -> Iterator[Table]:
    """The tables with an upper and a lower blood pressure."""
    return tables(
        content,
        _COLUMNS,
        lambda found: {SYSTOLIC, DIASTOLIC} <= found.keys() and ("time" in found or "date" in found),
    )


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The measurements, in local time of `zone`. Pulse and symptoms have no MIV and are ignored."""
    file = ImportFile("blood-pressure")
    for table in tables_of(content):
        _read(file, table, _maker(content, table), zone)
    return file


def _read(file: ImportFile, table: Table, maker: str, zone: tzinfo) -> None:
    texts = [table.moment(row) for row in table.rows]
    told = [table.cell(row, "zone") for row in table.rows]
    times = instants(texts, told, zone, zones=_zones(told))
    pairs, numbered = _pairs(table)
    for row, text, time_ms in zip(table.rows, texts, times, strict=True):
        cells = [{code: table.cell_at(row, at) for code, at in pair.items()} for pair in pairs]
        filled = [number for number, found in enumerate(cells) if any(found.values())]
        if table.ends_in(row):
            file.reject(row.line, ENDS)
        elif not filled:
            file.skipped += 1
        elif not numbered and any(cells[at] != cells[filled[0]] for at in filled):
            file.reject(row.line, table.several(at for number in filled for at in pairs[number].values()))
        else:
            for at in filled if numbered else filled[:1]:
                _take(file, table, row, maker, time_ms, text, cells[at])


def _pairs(table: Table) -> tuple[list[dict[str, int]], bool]:
    """The pairs of columns with upper and lower values, and whether each pair is a measurement of its own.

    These are the columns whose titles contain only name and unit; else those with numbers; else all, with at most one
    value per row, since only one of a morning's and an evening's value can belong to the row's time.
    """
    for form in (_PLAIN, _NUMBERED, _ANY):
        upper, lower = (
            [at for at, rest in table.alike(code).items() if form.fullmatch(rest)] for code in (SYSTOLIC, DIASTOLIC)
        )
        if upper or lower:
            break
    if len(upper) != len(lower) or not upper:
        upper, lower = [table.place(SYSTOLIC)], [table.place(DIASTOLIC)]
    pairs = [{SYSTOLIC: one, DIASTOLIC: other} for one, other in zip(upper, lower, strict=True)]
    if len(pairs) == 1 and MEAN in table:
        pairs[0][MEAN] = table.place(MEAN)
    return pairs, form is _NUMBERED


def _take(
    file: ImportFile, table: Table, row: Row, maker: str, time_ms: int | None, text: str, found: Mapping[str, str]
) -> None:
    parts = tuple((code, value) for code, cell in found.items() if (value := number(cell)) is not None)
    reasons = [reason for _, value in parts if (reason := implausible(value, MMHG))]
    if time_ms is None:
        file.reject(row.line, f"no time: {text or 'empty'}"[:80])
    elif [code for code, _ in parts][:2] != [SYSTOLIC, DIASTOLIC]:
        file.reject(row.line, "needs an upper and a lower value")
    elif reasons or parts[0][1] <= parts[1][1]:
        file.reject(row.line, reasons[0] if reasons else "the upper value is not above the lower one")
    elif len(parts) > 2 and not parts[1][1] <= parts[2][1] <= parts[0][1]:
        file.reject(row.line, "the mean value is not between the upper and the lower one")
    else:
        name = table.cell(row, "device") or UNNAMED[CUFF]
        source = Source(maker, name[:100], table.cell(row, "serial"), CUFF)
        file.values.append(Value(row.line, time_ms, PANEL, MMHG, None, source, parts))


def _zones(names: Iterable[str]) -> dict[Hashable, tzinfo]:
    """The zones named in a table, as by OMRON connect; names unknown to IANA are ignored."""
    found: dict[Hashable, tzinfo] = {}
    for name, _ in Counter(names).most_common(_MOST_ZONES):
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):  # "Europe", for instance, is a folder of zones
            found[name] = ZoneInfo(name)
    return found


def _maker(content: Content, table: Table) -> str:
    text = content.text[:4000].casefold()
    for name in ("OMRON", "Withings", "Beurer", "Medisana", "boso"):
        if name.casefold() in text:
            return name
    return "Withings" if _WITHINGS in table and table.place(_WITHINGS) < table.place(SYSTOLIC) else METER.manufacturer
