"""Ambiguous numbers and columns: the result is a bad row, not a guess."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ddr.imports.formats import read
from ddr.imports.model import FEV1, ImportFile, ImportFileError

EIGHT_MS = 1_795_158_000_000  # 2026-11-20 08:00 in Berlin
BERLIN = ZoneInfo("Europe/Berlin")
CLARITY = """Timestamp,Event Type,Source Device ID,Glucose Value ({unit}),Transmitter ID
2026-11-20T08:00:00,EGV,G7,{text},9A
"""
TABLE = "time;value;unit\n2026-11-20T08:00:00Z;{text};{unit}\n"
LUNG = "Datum;Uhrzeit;{title};Gerät\n20.11.2026;08:00;{text};asma-1\n"


def _read(text: str) -> ImportFile:
    return read(text.encode(), BERLIN)


@pytest.mark.parametrize("text", ["1,000", "1.000", "1,050", "2.345"])
@pytest.mark.parametrize("form", [CLARITY, TABLE])
def test_one_or_a_thousand_is_not_guessed(form: str, text: str) -> None:
    """Before: 1 mg/dL, taken without a word."""
    file = _read(form.format(text=f'"{text}"', unit="mg/dL"))
    assert file.values == [] and [f"{text} may be" in bad.reason for bad in file.bad] == [True]


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("5,6", "mmol/L", "5.6"),
        ("5,551", "mmol/L", "5.551"),
        ("5.551", "mmol/L", "5.551"),
        ("101,000", "mg/dL", "101.000"),
        ("101.5", "mg/dL", "101.5"),
        ("999", "mg/dL", "999"),
    ],
)
@pytest.mark.parametrize("form", [CLARITY, TABLE])
def test_what_can_be_only_one_number_is_taken(form: str, text: str, unit: str, value: str) -> None:
    file = _read(form.format(text=f'"{text}"', unit=unit))
    assert [str(one.value) for one in file.values] == [value] and not file.bad


@pytest.mark.parametrize(
    ("title", "text", "value"),
    [
        ("FEV1 (L)", "3,456", "3.456"),
        ("FEV1", "3.456", "3.456"),
        ("FEV1 (mL)", "3456", "3.456"),
        ("FEV1 (mL)", "3,456", None),
        ("PEF (L/s)", "7,512", "450.72"),
        ("PEF (L/min)", "412,000", "412.000"),
        ("PEF (L/min)", "1,000", None),
        ("PEF", "1,000", None),
    ],
)
def test_a_value_of_lung_function_in_any_unit(title: str, text: str, value: str | None) -> None:
    """Before: a PEF of 1,000 was taken for 1 L/s, 60 L/min."""
    file = _read(LUNG.format(title=title, text=text))
    assert [str(one.value) for one in file.values] == ([] if value is None else [value])
    assert [f"{text} may be" in bad.reason for bad in file.bad] == ([True] if value is None else [])


@pytest.mark.parametrize(
    "other", ["FEV1/FVC", "FEV1 / FVC (%)", "FEV1 %Soll", "FEV1 % pred", "FEV1 Soll (L)", "FEV1 pred."]
)
def test_what_is_predicted_or_a_share_is_no_measured_value(other: str) -> None:
    """Before: FEV1/FVC of 0.82 was an FEV1 of 0.82 L, and 105 % of the predicted one 0.105 L."""
    file = _read(f"Datum;Uhrzeit;{other};FEV1 (L);Gerät\n20.11.2026;08:00;0,82;3,05;asma-1\n")
    assert [(one.code, str(one.value)) for one in file.values] == [(FEV1, "3.05")] and not file.bad


def test_a_share_of_the_best_peak_flow_is_none() -> None:
    file = _read("Datum;Uhrzeit;PEF % Bestwert;PEF (L/min)\n20.11.2026;08:00;85;412\n")
    assert [str(one.value) for one in file.values] == ["412"]


@pytest.mark.parametrize(
    ("titles", "texts", "values"),
    [
        ("PEF 1 (L/min);PEF 2 (L/min);PEF 3 (L/min)", "412;;418", ["412", "418"]),
        ("FEV1 1;FEV1 #2;FEV1 best", "3,05;3,1;3,1", ["3.05", "3.1"]),
        ("PEF morgens;PEF abends", ";430", ["430"]),
        ("PEF morgens;PEF abends", "430;430", ["430"]),
        ("PEF morgens;PEF Zone", "430;grün", ["430"]),
        ("PEF Bestwert;PEF (L/min)", "520;412", ["412"]),
        ("PEF;PEF abends", "412;430", ["412"]),
        ("PEF (L/s);PEF (L/min)", "7,5;448", ["450"]),
        ("FEV1/FEV6;FEV1 (L)", "0,82;3,05", ["3.05"]),
    ],
)
def test_of_several_columns_of_lung_function_each_value_is_read(titles: str, texts: str, values: list[str]) -> None:
    """Before: the first column alone, whatever it was."""
    file = _read(LUNG.format(title=titles, text=texts))
    assert [str(one.value) for one in file.values] == values and not file.bad


@pytest.mark.parametrize("titles", ["PEF morgens;PEF abends", "PEF vor;PEF nach", "PEF (L/s);PEF (L/min)", "PEF;PEF"])
def test_which_of_two_columns_is_of_this_time_is_no_guess(titles: str) -> None:
    """Before: the second was lost without a word."""
    file = _read(LUNG.format(title=titles, text="412;430") + "20.11.2026;09:00;;\n")
    first, second = titles.split(";")
    assert file.values == [] and file.skipped == 1
    assert [(bad.line, f"({first}, {second}); it is unclear" in bad.reason) for bad in file.bad] == [(2, True)]


@pytest.mark.parametrize("heading", ["Date of birth,Date,Time,Name", "Date of birth,Measurement date,Name"])
def test_a_date_of_birth_is_no_date_of_a_value(heading: str) -> None:
    """Before: the first column that begins with the word was taken."""
    when = "2026-11-20,08:00" if "Time" in heading else "2026-11-20 08:00"
    file = _read(f"{heading},Systolic,Diastolic\n2004-03-01,{when},A,121,79\n")
    assert [one.time_ms for one in file.values] == [EIGHT_MS]


def test_without_another_date_a_date_of_birth_is_none_either() -> None:
    with pytest.raises(ImportFileError, match="this file has none of the known formats"):
        _read("Date of birth,Measured,Systolic,Diastolic\n2004-03-01,2026-11-20 08:00,121,79\n")


@pytest.mark.parametrize("title", ["Mittlerer Puls", "Mean heart rate"])
def test_a_mean_pulse_is_no_mean_pressure(title: str) -> None:
    """Before: a pulse of 90 was a mean pressure of 90 mmHg."""
    file = _read(f"Datum,Uhrzeit,Systolisch,Diastolisch,{title}\n20.11.2026,08:00,121,79,90\n")
    assert [len(one.parts) for one in file.values] == [2]


@pytest.mark.parametrize("mean", ["78", "122"])
def test_a_mean_pressure_is_between_the_others(mean: str) -> None:
    heading = "Datum,Uhrzeit,Systolisch,Diastolisch,Mittlerer Blutdruck"
    file = _read(f"{heading}\n20.11.2026,08:00,121,79,{mean}\n20.11.2026,09:00,121,79,93\n")
    assert [len(one.parts) for one in file.values] == [3]
    assert [(bad.line, "not between" in bad.reason) for bad in file.bad] == [(2, True)]


@pytest.mark.parametrize(
    ("titles", "texts", "values"),
    [
        ("Systolisch 1,Diastolisch 1,Systolisch 2,Diastolisch 2", "121,79,125,81", ["121/79", "125/81"]),
        ("Sys 1,Sys 2,Dia 1,Dia 2", "121,,79,", ["121/79"]),
        ("Systolisch morgens,Diastolisch morgens,Systolisch abends,Diastolisch abends", ",,125,81", ["125/81"]),
        ("Systolisch Ziel,Systolisch (mmHg),Diastolisch Ziel,Diastolisch (mmHg)", "120,131,80,85", ["131/85"]),
        ("Systolisch,Diastolisch,Systolisch,Diastolisch", "121,79,121,79", ["121/79"]),
    ],
)
def test_of_several_columns_of_blood_pressure_each_pair_is_read(titles: str, texts: str, values: list[str]) -> None:
    """Before: the first pair alone, whatever it was."""
    file = _read(f"Datum,Uhrzeit,{titles}\n20.11.2026,08:00,{texts}\n")
    assert ["/".join(str(value) for _, value in one.parts) for one in file.values] == values and not file.bad


def test_which_of_two_blood_pressures_is_of_this_time_is_no_guess() -> None:
    """Before: the second was lost without a word."""
    titles = "Systolisch morgens,Diastolisch morgens,Systolisch abends,Diastolisch abends"
    file = _read(f"Datum,Uhrzeit,{titles}\n20.11.2026,08:00,121,79,125,81\n")
    assert file.values == [] and ["(Systolisch morgens, Diastolisch" in bad.reason for bad in file.bad] == [True]


def test_times_are_of_the_zone_that_a_table_names() -> None:
    """Before: all of them were times of Berlin, hours away from when it was measured."""
    rows = ("02:00,America/New_York", "08:00,Europe/Berlin", "08:00,", "08:00,Europe", "08:00,somewhere")
    heading = "Measurement Date,Time Zone,SYS(mmHg),DIA(mmHg)\n"
    file = _read(heading + "".join(f"2026/11/20 {row},121,79\n" for row in rows))
    assert [one.time_ms for one in file.values] == [EIGHT_MS] * 5


def test_each_of_two_exports_in_one_file_has_its_own_order_of_day_and_month() -> None:
    """Before: the 5th of November of the first one was the 11th of May."""
    american = (
        "Timestamp,CGM Glucose Value (mg/dL),Serial Number\n11/05/2026 8:00 AM,100,G7\n11/20/2026 8:00 AM,101,G7\n"
    )
    german = "Zeitstempel,CGM-Glukosewert (mg/dl),Seriennummer\n06.11.2026 08:00,102,G7\n20.11.2026 08:00,103,G7\n"
    for text in (american + german, german + american):
        file = _read(text)
        days = {str(one.value): datetime.fromtimestamp(one.time_ms / 1000, BERLIN).isoformat() for one in file.values}
        assert days == {
            value: f"2026-11-{day}T08:00:00+01:00"
            for value, day in (("100", "05"), ("101", "20"), ("102", "06"), ("103", "20"))
        }


@pytest.mark.parametrize("text", ["5,551", "5,55075", "11,1013"])
def test_half_of_a_number_with_many_decimals_is_not_taken_for_it(text: str) -> None:
    """Before: 5 mmol/L for an unquoted 5,551."""
    file = _read(CLARITY.format(text=text, unit="mmol/L"))
    assert file.values == [] and "without quotation marks is read as two columns" in file.bad[0].reason
