"""Tables with a map: errors in a map are reported, and it finds columns in CSV and Parquet."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow
import pytest
from pyarrow import parquet

from ddr.imports import mapped
from ddr.imports.content import Content
from ddr.imports.model import ImportFileError
from ddr.imports.numbers import number

BERLIN = ZoneInfo("Europe/Berlin")
COLUMNS = "[columns]\ntime = 'Zeit'\nvalue = 'Wert'\n"
FIXED = "[fixed]\nunit = 'mg/dL'\ncode = '99504-3'\ndevice = 'Sensor X'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[columns", "is not TOML"),
        (COLUMNS + "[other]\n", "and nothing else"),
        ("columns = 'Zeit'\n", "and nothing else"),
        (COLUMNS + "[fixed]\nunit = 1\n", "with texts"),
        (COLUMNS + "unti = 'Einheit'\n", "names unti; known are time"),
        ("[columns]\nvalue = 'Wert'\n", "which column is time"),
        ("[columns]\nunit = 'Einheit'\n", "which column is time and value"),
        (COLUMNS + "[fixed]\nzone = 'Europe/Nowhere'\n", "unknown time zone, Europe/Nowhere"),
        (COLUMNS + "[fixed]\nzone = '/etc'\n", "unknown time zone, /etc"),
        (COLUMNS + "[fixed]\nzone = 'Europe'\n", "unknown time zone, Europe"),
    ],
)
def test_what_is_wrong_in_a_map_is_said(text: str, said: str) -> None:
    with pytest.raises(ImportFileError, match=said):
        mapped.load(text)


def test_a_column_that_the_file_has_not_is_named() -> None:
    with pytest.raises(ImportFileError, match="no column Wert; the file has Zeit, Value"):
        mapped.read(Content(b"Zeit,Value\n2026-11-20T08:00:00,100\n"), mapped.load(COLUMNS + FIXED), BERLIN)


def test_a_column_that_the_file_has_twice_is_not_guessed() -> None:
    with pytest.raises(ImportFileError, match="several columns Wert"):
        mapped.read(Content(b"Zeit,Wert,Wert\n2026-11-20T08:00:00,100,5.6\n"), mapped.load(COLUMNS + FIXED), BERLIN)


def test_numbers_below_a_heading_of_something_else_are_left() -> None:
    weights, glucose = "Zeit,Gewicht\n2026-11-20T08:05:00,81\n", "Zeit,Wert\n2026-11-20T08:{}:00,{}\n"
    text = f"{glucose.format('00', 100)}\n{weights}\n{glucose.format('10', 110)}"
    file = mapped.read(Content(text.encode()), mapped.load(COLUMNS + FIXED), BERLIN)
    assert ([str(value.value) for value in file.values], file.bad) == (["100", "110"], [])


def test_an_empty_parquet_file_is_refused_in_words() -> None:
    with pytest.raises(ImportFileError, match="the Parquet file cannot be read"):
        mapped.read(Content(b"PAR1"), mapped.load(COLUMNS + FIXED), BERLIN)


def test_a_parquet_file_is_read_with_times_of_its_own_kind() -> None:
    time, file = datetime(2026, 11, 20, 8, tzinfo=UTC), io.BytesIO()
    parquet.write_table(pyarrow.table({"Zeit": [time, time], "Wert": [100, None]}), file)
    found = mapped.read(Content(file.getvalue()), mapped.load(COLUMNS + FIXED), BERLIN)
    assert [(one.time_ms, one.code, one.value) for one in found.values] == [
        (round(time.timestamp() * 1000), "99504-3", Decimal(100))
    ]
    assert [one.line for one in found.bad] == [2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.234,5", "1234.5"),
        ("1,234.5", "1234.5"),
        ("\u22125,6", "-5.6"),
        ("1\u202f234", "1234"),
        ("0", "0"),
        ("1e-20", None),
        ("1e15", None),
        ("5.6.7", None),
        ("1 234,5", "1234.5"),
        ("12,345,678.9", None),
        ("5 6", None),
        ("120 80", None),
        ("1.2,3", None),
        ("5.6,7", None),
    ],
)
def test_numbers_as_programs_write_them(text: str, value: str | None) -> None:
    assert number(text) == (None if value is None else Decimal(value))


def test_a_row_in_which_the_file_breaks_off_is_no_value() -> None:
    text = b"Zeit,Wert,Notiz\n2026-11-20T08:00:00,100,\n2026-11-20T08:05:00,12"
    file = mapped.read(Content(text), mapped.load(COLUMNS + FIXED), BERLIN)
    assert [str(value.value) for value in file.values] == ["100"]
    assert [bad.line for bad in file.bad] == [3] and "in the middle of this row" in file.bad[0].reason
