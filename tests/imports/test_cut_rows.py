"""Rows that are not what they seem: an unquoted decimal comma, a quote that is never closed."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from ddr.imports import mapped
from ddr.imports.content import Content
from ddr.imports.formats import read
from tests.imports import samples

BERLIN = ZoneInfo("Europe/Berlin")
TIME = "2026-11-20T08:00:00"
LIBREVIEW = "Device,Serial Number,Device Timestamp,Record Type,Historic Glucose {unit},Scan Glucose {unit},Notes\n"


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        (LIBREVIEW.format(unit="mmol/L"), "FreeStyle Libre 3,A,20-11-2026 08:00,0,5,6,,\n"),
        (
            "Timestamp,Event Type,Source Device ID,Glucose Value (mmol/L),Transmitter ID\n",
            f"{TIME},EGV,Android G7,5,6,9A\n",
        ),
        ("Timestamp,CGM Glucose Value (mmol/L),Serial Number\n", "11/20/2026 8:00 AM,5,6,G7\n"),
        ("Eversense\nDate,Time,Sensor Glucose (mmol/L),Transmitter Serial\n", "11/20/2026,8:00 AM,5,6,T\n"),
        ("Index,Date,Time,Sensor Glucose (mmol/L),ISIG Value\n", "0,2026/11/20,08:10:00,5,6,18.4\n"),
        ("Date,Time,FEV1 (L),Device\n", "20.11.2026,08:00,3,05,asma-1\n"),
        ("time,unit,value\n", f"{TIME}Z,mmol/L,5,6\n"),
        ("time,value,unit\n", f"{TIME}Z,5,6,mmol/L\n"),
    ],
)
def test_half_of_a_number_is_not_taken_for_it(heading: str, row: str) -> None:
    """Before: 5 mmol/L for 5,6, and nobody was told."""
    file = read((heading + row).encode(), BERLIN)
    assert file.values == []
    (bad,) = file.bad
    assert bad.line == heading.count("\n") + 1 and "without quotation marks is read as two columns" in bad.reason


def test_nor_in_a_table_with_a_map() -> None:
    columns = mapped.load("[columns]\ntime = 'Zeit'\nvalue = 'Wert'\n[fixed]\nunit = 'mmol/L'\ncode = '105272-9'\n")
    content = Content(f"Zeit,Wert,Notiz\n{TIME},5,6,\n{TIME},5,\n".encode())
    file = mapped.read(content, columns, BERLIN)
    assert [str(value.value) for value in file.values] == ["5"]
    assert "5,6 without quotation marks" in file.bad[0].reason


@pytest.mark.parametrize(
    "text",
    [
        LIBREVIEW.format(unit="mmol/L") + 'FreeStyle Libre 3,A,20-11-2026 08:00,0,"5,6",,\n',
        LIBREVIEW.format(unit="mmol/L") + 'FreeStyle Libre 3,A,20-11-2026 08:00,0,"5,6",,late, and tired\n',
        LIBREVIEW.format(unit="mmol/L").replace(",", ";") + "FreeStyle Libre 3;A;20-11-2026 08:00;0;5,6;;;\n",
        f"time,value,unit\n{TIME},5.6,mmol/L,\n",
    ],
)
def test_a_column_too_many_does_no_harm_where_the_number_is_whole(text: str) -> None:
    file = read(text.encode(), BERLIN)
    assert [str(value.value) for value in file.values] == ["5.6"] and not file.bad


@pytest.mark.parametrize("note", ['"Pizza', '"Pizza" at "Luigi\'s"', 'x"'])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("rows", [60, 6000])
def test_a_quote_that_nothing_closes_takes_no_rows_with_it(note: str, again: bool, rows: int) -> None:
    """Before: all rows up to the next quote, or to the end of the file, were lost without a word."""
    lines = [
        f"FreeStyle Libre 3,A,{1 + at // 1440:02d}-11-2026 {at // 60 % 24:02d}:{at % 60:02d},0,{100 + at % 50},,"
        + (note if at == 3 or (again and at == rows // 2) else "")
        for at in range(rows)
    ]
    file = read((LIBREVIEW.format(unit="mg/dL") + "\n".join(lines)).encode(), BERLIN)
    assert [int(str(value.value)) for value in file.values] == [100 + at % 50 for at in range(rows)]
    assert [value.line for value in file.values] == list(range(2, rows + 2)) and not file.bad


def test_a_note_of_several_lines_is_one_row() -> None:
    row = 'FreeStyle Libre 3,A,20-11-2026 08:{at:02d},0,{value},,"late,\n\nand tired"\n'
    text = LIBREVIEW.format(unit="mg/dL") + "".join(row.format(at=at, value=100 + at) for at in range(3))
    file = read(text.encode(), BERLIN)
    assert [(value.line, str(value.value)) for value in file.values] == [(4, "100"), (7, "101"), (10, "102")]
    assert not file.bad and not file.skipped


@pytest.mark.parametrize(
    "time", ["0001-01-01 00:00", "1900-01-01 00:00", "1970-01-01 00:30", "1969-12-31T23:59:59Z", "1970-01-21 18:39"]
)
def test_a_clock_that_was_never_set_spoils_its_own_rows_only(time: str) -> None:
    """Before: a traceback, or the whole file refused for the start of its device."""
    text = f"time,code,value,unit\n{time},2339-0,100,mg/dL\n{TIME}Z,2339-0,101,mg/dL\n"
    columns = mapped.load("[columns]\ntime = 'time'\nvalue = 'value'\nunit = 'unit'\ncode = 'code'\n")
    for file in (read(text.encode(), BERLIN), mapped.read(Content(text.encode()), columns, BERLIN)):
        assert [str(value.value) for value in file.values] == ["101"]
        assert [(bad.line, "before 2000" in bad.reason) for bad in file.bad] == [(2, True)]


@pytest.mark.parametrize(
    "text",
    [
        samples.CLARITY,
        samples.LIBREVIEW,
        samples.CARELINK,
        samples.GLOOKO,
        samples.EVERSENSE,
        samples.OMRON.replace("2026/11/21 08:00,Europe/Berlin,79,121", "2026/11/21 08:00,Europe/Berlin,121,79"),
        samples.SPIROMETRY,
        samples.TABLE,
    ],
)
def test_of_two_exports_in_one_file_the_second_counts_too(text: str) -> None:
    """`cat june.csv july.csv > all.csv`. Before: only the rows above the second heading, and nobody was told."""
    once, twice = read(text.encode(), BERLIN), read((text + text).encode(), BERLIN)
    rows = text.count("\n")
    first = {(value.line, value.time_ms, value.code, value.value) for value in once.values if not value.parts}
    second = {(line + rows, *told) for line, *told in first}
    assert {(value.line, value.time_ms, value.code, value.value) for value in twice.values if not value.parts} == (
        first | second
    )
    assert {value.parts for value in twice.values} == {value.parts for value in once.values}
    assert twice.format == once.format and (text == samples.TABLE or len(twice.values) == 2 * len(once.values))


def test_each_of_two_tables_has_its_own_unit_and_order() -> None:
    first = LIBREVIEW.format(unit="mg/dL") + "FreeStyle Libre 3,A,20-11-2026 08:00,0,101,,\n"
    second = (
        "Device,Device Timestamp,Record Type,Historic Glucose mmol/L,Serial Number\nLibre,20-11-2026 08:05,0,5.6,A\n"
    )
    file = read((first + second).encode(), BERLIN)
    assert [(str(value.value), value.unit, value.source.serial) for value in file.values] == [
        ("101", "mg/dL", "A"),
        ("5.6", "mmol/L", "A"),
    ]
