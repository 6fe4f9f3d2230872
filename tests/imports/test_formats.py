"""Each format: recognised by its content, read with its words, units, times and devices; bad rows do no harm."""

from __future__ import annotations

import csv
import gc
import io
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from itertools import permutations
from operator import getitem
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.imports.calls import instant, milliseconds
from ddr.imports.content import Content
from ddr.imports.formats import FORMATS, read
from ddr.imports.makers import UNNAMED
from ddr.imports.model import (
    CUFF,
    MOST_BAD,
    PEAK_FLOW_METER,
    ImportFile,
    ImportFileError,
    MostlyBad,
    OtherKind,
    SeveralPersons,
    Value,
)
from tests.imports import samples

BERLIN = ZoneInfo("Europe/Berlin")
EIGHT = 1_795_158_000_000  # 2026-11-20T08:00 in Berlin
FIVE = 300_000

ALL = {
    "clarity": samples.CLARITY,
    "libreview": samples.LIBREVIEW,
    "carelink": samples.CARELINK,
    "glooko": samples.GLOOKO,
    "eversense": samples.EVERSENSE,
    "tidepool": samples.TIDEPOOL,
    "nightscout": samples.NIGHTSCOUT,
    "open-mhealth": samples.OPEN_MHEALTH,
    "blood-pressure": samples.OMRON,
    "spirometry": samples.SPIROMETRY,
    "table": samples.TABLE,
}


def values(text: str) -> list[tuple[int, str, str, str]]:
    """Time from eight o'clock, code, value, serial number."""
    return [_told(value) for value in read(text.encode(), BERLIN).values]


def taken(text: str) -> ImportFile:
    return read(text.encode(), BERLIN)


def _told(value: Value) -> tuple[int, str, str, str]:
    shown = "/".join(str(amount) for _, amount in value.parts) if value.parts else str(value.value)
    return (value.time_ms - EIGHT, value.code, shown, value.source.serial)


@pytest.mark.parametrize("name", ALL)
def test_a_form_is_found_by_the_content(name: str) -> None:
    assert read(ALL[name].encode(), BERLIN).format == name
    assert [key for key, one in FORMATS.items() if key != name and _reads(ALL[name], key)] == []


def _reads(text: str, name: str) -> bool:
    try:
        return bool(read(text.encode(), BERLIN, name).values)
    except ImportFileError:
        return False


def test_clarity() -> None:
    assert values(samples.CLARITY) == [
        (0, "99504-3", "123", "8ABCDE"),
        (FIVE, "99504-3", "L", "8ABCDE"),
        (2 * FIVE, "99504-3", "U", "8ABCDE"),
    ]
    file = read(samples.CLARITY.encode(), BERLIN)
    assert file.skipped == 2 and not file.bad
    assert file.limits[file.values[0].source]["mg/dL"] == (Decimal(40), Decimal(400))


def test_clarity_in_german_saved_by_excel() -> None:
    for encoding in ("utf-8", "utf-16", "cp1252"):
        text = samples.CLARITY_DE.removeprefix("\ufeff")
        found = read(text.encode(encoding), BERLIN).values
        assert [_told(value)[1:] for value in found] == [
            ("105272-9", "5.6", "9DEFGH"),
            ("105272-9", "L", "9DEFGH"),
            ("105272-9", "U", "9DEFGH"),
        ]


def test_libreview_takes_stored_values_and_strips() -> None:
    assert values(samples.LIBREVIEW) == [
        (0, "105272-9", "5.6", "ABC123"),
        (3 * FIVE, "105272-9", "6.0", "ABC123"),
        (6 * FIVE, "14743-9", "7.1", "ABC123"),
    ]
    assert [value[2] for value in values(samples.LIBREVIEW_DE)] == ["101", "L"]


def test_carelink_has_sections() -> None:
    assert sorted(values(samples.CARELINK)) == [
        (FIVE, "99504-3", "128", "NG2"),
        (2 * FIVE, "99504-3", "131", "NG2"),
        (12 * 60_000, "41653-7", "141", ""),
    ]


def test_glooko_eversense_and_tables_of_single_values() -> None:
    assert values(samples.GLOOKO) == [(0, "99504-3", "110.0", "FIELD G7"), (FIVE, "99504-3", "112.5", "FIELD G7")]
    assert values(samples.EVERSENSE) == [(0, "99504-3", "120", "T12"), (FIVE, "99504-3", "U", "T12")]
    assert values(samples.WITHINGS_DE) == [(0, "85354-9", "121/79", "")]
    assert values(samples.SPIROMETRY) == [(0, "19935-6", "412", ""), (0, "20150-9", "3.05", "")]


def test_calibrations_and_limits_of_alerts_are_no_values() -> None:
    """HDDT retrieving-data.md: what another device measured to calibrate a sensor is no part of its chunks."""
    others = samples.CLARITY.replace(",EGV,", ",Calibration,")
    with pytest.raises(ImportFileError, match="no values"):
        taken(others)
    head = "Eversense\nDate/Time,Event Type,Glucose (mg/dL),Transmitter\n"
    rows = [f"2026-11-20 08:0{at},{kind},{100 + at},T\n" for at, kind in enumerate(("Glucose", "Calibration", "Alert"))]
    file = taken(head + "".join(rows))
    assert ([str(value.value) for value in file.values], file.skipped) == (["100"], 2)


def test_swapped_pressures_are_a_bad_row() -> None:
    file = read(samples.OMRON.encode(), BERLIN)
    assert [_told(value)[2] for value in file.values] == ["121/79"]
    assert [(bad.line, "not above" in bad.reason) for bad in file.bad] == [(3, True)]


@pytest.mark.parametrize(
    ("heading", "manufacturer"),
    [
        ('Datum,Herzfrequenz,"Systolischer Blutdruck","Diastolischer Blutdruck",Kommentare', "Withings"),
        ("Date,Heart rate,Systolic,Diastolic,Comments", "Withings"),
        ("Datum,Systole (mmHg),Diastole (mmHg),Herzfrequenz (1/min)", "not stated in the export"),
    ],
)
def test_whose_diary_it_is(heading: str, manufacturer: str) -> None:
    row = "2026-11-20 07:12:33,121,79,66" if "(1/min)" in heading else "2026-11-20 07:12:33,66,121,79,"
    (value,) = taken(f"{heading}\n{row}\n").values
    assert value.source.manufacturer == manufacturer
    assert [amount for _, amount in value.parts] == [121, 79]


@pytest.mark.parametrize(
    "heading",
    [
        "ID\tTime\tRecord Type\tHistoric Glucose (mg/dL)\tScan Glucose (mg/dL)\tStrip Glucose (mg/dL)",
        "ID\tZeit\tArt des Eintrags\tGlukose-Verlauf (mg/dL)\tGescannte Glukose (mg/dL)\tTeststreifen-Glukose (mg/dL)",
    ],
)
def test_the_text_of_a_reader(heading: str) -> None:
    rows = "1\t2026/11/20 07:12\t0\t121\t\t\n2\t2026/11/20 07:14\t2\t\t\t133\n3\t2026/11/20 07:15\t1\t\t125\t\n"
    file = taken(f"# JCGS123\n{heading}\n{rows}")
    assert [(value.code, str(value.value), value.source.serial) for value in file.values] == [
        ("99504-3", "121", "JCGS123"),
        ("41653-7", "133", "JCGS123"),
    ]
    assert file.skipped == 1


def test_nightscout_with_times_as_texts() -> None:
    entry = {"type": "sgv", "sgv": 121, "dateString": "2026-11-20T07:12:00.000Z"}
    assert [value.time_ms for value in taken(orjson.dumps([entry]).decode()).values] == [1_795_158_720_000]


@pytest.mark.parametrize(
    "text",
    [
        "time,code,value,unit,patient\n2026-11-20T07:00Z,2339-0,99,mg/dL,a\n2026-11-20T08:00Z,2339-0,98,mg/dL,b\n",
        '[{"type":"smbg","value":5.5,"units":"mmol/L","time":"2026-11-20T07:00:00Z","userId":"a"},'
        '{"type":"smbg","value":5.6,"units":"mmol/L","time":"2026-11-20T08:00:00Z","userId":"b"}]',
        '[{"header":{"user_id":"a"},"body":{"blood_glucose":{"unit":"mg/dL","value":99}}},'
        '{"header":{"user_id":"b"},"body":{"blood_glucose":{"unit":"mg/dL","value":98}}}]',
        samples.CLARITY + samples.CLARITY.replace("Erika", "Max"),
        samples.CARELINK + samples.CARELINK.replace("Mia", "Max"),
        samples.GLOOKO + samples.GLOOKO.replace("Mia", "Max"),
        '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","subject":{"reference":"Patient/a"}}},'
        '{"resource":{"resourceType":"Observation","subject":{"reference":"Patient/b"}}}]}',
    ],
)
def test_a_file_of_several_persons_is_refused(text: str) -> None:
    with pytest.raises(SeveralPersons, match="several persons"):
        taken(text)


def _with_semicolons(text: str) -> str:
    """As a spreadsheet writes it that has another file in the same sheet."""
    written, separator = io.StringIO(), ";" if ";" in text else ","
    csv.writer(written, delimiter=";").writerows(csv.reader(io.StringIO(text), delimiter=separator))
    return written.getvalue()


@pytest.mark.parametrize(
    "names", [*permutations(("clarity", "libreview", "carelink", "glooko", "blood-pressure", "spirometry", "table"), 2)]
)
def test_several_forms_one_below_the_other_are_refused(names: tuple[str, str]) -> None:
    """Of the one that is found second nothing was taken, without a word."""
    both = "".join(_with_semicolons(ALL[name]) for name in names)
    with pytest.raises(OtherKind, match="several formats"):
        taken(both)
    assert read(both.encode(), BERLIN, names[0]).values


def test_a_diary_with_rows_of_two_forms_is_taken_by_the_name_of_each() -> None:
    diary = "Datum;Systolisch;Diastolisch;PEF (L/min)\n20.11.2026 08:00;121;79;\n20.11.2026 08:10;;;412\n"
    with pytest.raises(OtherKind, match="several formats"):
        taken(diary)
    told = [read(diary.encode(), BERLIN, name).values for name in ("blood-pressure", "spirometry")]
    assert [[_told(value)[2] for value in found] for found in told] == [["121/79"], ["412"]]


def test_a_line_in_brackets_above_an_export_makes_no_json_of_it() -> None:
    assert values("[Export]\n" + samples.CLARITY) == values(samples.CLARITY)


@pytest.mark.parametrize("text", [samples.CLARITY, samples.CARELINK, samples.GLOOKO])
def test_two_files_of_one_person_in_one_are_taken(text: str) -> None:
    later = (
        text.replace("2026-11-20", "2026-11-21").replace("2026/11/20", "2026/11/21").replace("20.11.2026", "21.11.2026")
    )
    assert len(taken(text + later.replace("Erika", "ERIKA")).values) == 2 * len(taken(text).values)


@pytest.mark.parametrize("good", [0, MOST_BAD + 1])
def test_a_file_of_which_most_is_bad_is_refused_and_one_of_which_most_is_good_is_not(good: int) -> None:
    """Each bad row costs time; after some thousands, and more than good ones, nothing of the file is taken."""
    rows = ["2026-11-20T07:00Z,2339-0,99,mg/dL"] * good + ["x,2339-0,99,mg/dL"] * (MOST_BAD + 1)
    text = "\n".join(["time,code,value,unit", *rows])
    if good:
        file = taken(text)
        assert (len(file.values), len(file.bad)) == (good, MOST_BAD + 1)
    else:
        with pytest.raises(MostlyBad, match=r"up to line 10002 10001 rows are bad and 0 are good.*line 2: no time: x"):
            taken(text)


@pytest.mark.parametrize(
    ("rows", "taken_as"),
    [
        ("U121 L79 U130 L85 U125 L80", ["121/79", "130/85", "125/80"]),
        ("L79 U121 L85 U130", ["121/79", "130/85"]),
        ("U121 L79 M93 U121 L80 M93", ["121/79", "121/80"]),
        ("U121 L79 U121 L79", ["121/79"]),
        ("U121 U121 L79 L79", ["121/79"]),
        ("U121 U130 L79 L85", None),
        ("U121 L79 U130", None),
    ],
)
def test_several_blood_pressures_of_a_minute_stay_apart(rows: str, taken_as: list[str] | None) -> None:
    """Before: the last upper and the last lower value were taken, and the others lost without a word."""
    codes = {"U": "8480-6", "L": "8462-4", "M": "8478-0"}
    lines = [f"2026-11-20T07:00Z,{codes[row[0]]},{row[1:]},mm[Hg],cuff" for row in rows.split()]
    file = taken("\n".join(["time,code,value,unit,device", *lines]))
    assert [f"{one.parts[0][1]}/{one.parts[1][1]}" for one in file.values] == (taken_as or [])
    assert ["it is unclear" in bad.reason for bad in file.bad] == ([] if taken_as else [True])


def test_parts_of_blood_pressures_count_as_good_rows() -> None:
    parts = (("8480-6", 120), ("8462-4", 80))
    good = [f"2026-11-20T07:00Z,{code},{value},mm[Hg],cuff {at}" for at in range(MOST_BAD + 1) for code, value in parts]
    file = taken("\n".join(["time,code,value,unit,device", *good, *["x,2339-0,99,mg/dL,"] * (MOST_BAD + 1)]))
    assert (len(file.values), len(file.bad)) == (MOST_BAD + 1, MOST_BAD + 1)


def test_tidepool_gives_mg_per_dl_back_where_it_was_measured() -> None:
    assert values(samples.TIDEPOOL) == [
        (0, "99504-3", "100", "8ABCDE"),
        (FIVE, "99504-3", "L", "8ABCDE"),
        (6 * 60_000, "14743-9", "7.1", "X9"),
    ]


def test_a_scanned_sensor_is_no_drop_of_blood_in_tidepool() -> None:
    file = taken(samples.TIDEPOOL.replace('"smbg",', '"smbg","subType":"scanned",'))
    assert ({value.code for value in file.values}, file.skipped) == ({"99504-3"}, 2)


def test_nightscout_codes_are_no_values() -> None:
    file = read(samples.NIGHTSCOUT.encode(), BERLIN)
    assert [str(value.value) for value in file.values] == ["L", "100", "U", "110"]
    assert [bad.line for bad in file.bad] == [4] and file.skipped == 1


def test_open_mhealth() -> None:
    assert [value[1:3] for value in values(samples.OPEN_MHEALTH)] == [("41653-7", "95"), ("85354-9", "121/79")]


def _point(**members: Any) -> dict[str, Any]:
    time = {"effective_time_frame": {"date_time": "2026-11-20T08:00:00+01:00"}}
    return {"body": {"blood_glucose": {"unit": "mg/dL", "value": 95}, **time, **members}}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"specimen_source": "interstitial fluid"}, "99504-3"),
        ({"specimen_source": "capillary blood"}, "41653-7"),
        ({"blood_specimen_type": "whole blood"}, "2339-0"),
        ({"blood_specimen_type": "plasma"}, "2345-7"),
    ],
)
def test_open_mhealth_says_in_what_glucose_was_measured(members: dict[str, Any], code: str) -> None:
    assert [value[1:3] for value in values(orjson.dumps([_point(**members)]).decode())] == [(code, "95")]


def test_of_open_mhealth_what_nobody_measured_in_blood_is_left() -> None:
    tears, average = _point(specimen_source="tears"), _point(descriptive_statistic="average")
    file = taken(orjson.dumps([_point(), tears, average]).decode())
    assert (len(file.values), [bad.line for bad in file.bad], file.skipped) == (1, [2], 1)


PRESSURES = "Date,Time,Systolic (mmHg),Diastolic (mmHg),Pulse (bpm)\n2026-11-20,08:00,121,79,66\n"


@pytest.mark.parametrize(
    "other",
    [
        "Date,Time,SpO2 (%),Pulse (bpm)\n2026-11-21,08:00,98,72\n",
        "Date,Time,Weight (lb),BMI\n2026-11-21,08:00,170.5,25.1\n",
        "BLOOD SUGAR\nDate,Time,Value (mg/dL),Type\n2026-11-21,08:00,104,40\n",
    ],
)
def test_numbers_below_a_heading_of_something_else_are_no_blood_pressure(other: str) -> None:
    for text in (f"{PRESSURES}\n{other}", f"{other}\n{PRESSURES}", f"{PRESSURES}{other}{PRESSURES}"):
        file = taken(text)
        assert {_told(value)[:3] for value in file.values} == {(0, "85354-9", "121/79")}
        assert not file.bad


def _shown(text: str) -> list[tuple[str, str]]:
    return [(value.comparator, str(value.value)) for value in taken(text).values if not value.parts]


LIMITED = samples.FHIR.replace('"value": 101, "code"', '"comparator": ">", "value": 600, "code"')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{samples.TABLE}2026-11-20T08:00:00Z,2339-0,<20,mg/dL,Meter,S\n", ("<", "20")),
        (
            f"{samples.TABLE}2026-11-20T08:00:00Z,2339-0, > 33.3 ,mmol/L,Meter,S\n".replace("2339-0", "15074-8"),
            (">", "33.3"),
        ),
        (f"{samples.LIBREVIEW}FreeStyle Libre 3,ABC123,20-11-2026 08:40,2,,,,>27.8\n", (">", "27.8")),
        (LIMITED, (">", "600")),
    ],
)
def test_a_single_value_may_lie_below_or_above_what_a_meter_measures(text: str, shown: tuple[str, str]) -> None:
    assert _shown(text)[-1] == shown


@pytest.mark.parametrize("code", ["99504-3", "105272-9"])
def test_what_a_sensor_could_have_measured_is_not_beyond_its_limits(code: str) -> None:
    """`<70` as L would be told to a DiGA as below 40."""
    unit, texts = ("mg/dL", "<70 <40 <30 >300 >400") if code == "99504-3" else ("mmol/L", "<3.9 <2.2 <2 >16,7 >22.2")
    texts += f" <70{unit}"
    rows = [f"2026-11-20 0{hour}:00;{code};{text};{unit}\n" for hour, text in enumerate(texts.split())]
    file = read(("time;code;value;unit\n" + "".join(rows)).encode(), BERLIN)
    assert [value.value for value in file.values] == ["L", "L", "U"]
    assert [row.line for row in file.bad] == [2, 5, 7]
    assert "is not beyond what the sensor measures" in file.bad[0].reason
    raised = read(samples.TIDEPOOL.replace('"threshold":40', '"threshold":50').encode(), BERLIN)
    assert "<50 is not beyond" in raised.bad[0].reason
    exported = read(samples.EVERSENSE.replace("High", ">300").encode(), BERLIN)
    assert [row.line for row in exported.bad] == [4] and len(exported.values) == 1


def test_without_the_limit_of_the_meter_nobody_knows_what_lo_is() -> None:
    file = taken(f"{samples.TABLE}2026-11-20T08:00:00Z,2339-0,LO,mg/dL,Meter,S\n")
    assert [bad.reason for bad in file.bad] == ["a single value must be a number"]


def test_a_device_without_a_name_is_called_by_what_it_is_for() -> None:
    """A peak flow meter is no glucose sensor."""
    rows = ("2339-0,99,mg/dL", "8480-6,120,mm[Hg]", "8462-4,80,mm[Hg]", "19935-6,480,L/min", "20150-9,3.1,L")
    table = "time,code,value,unit\n" + "".join(f"2026-11-20T08:00:00Z,{row}\n" for row in rows)
    assert {value.source.name for value in read(table.encode(), BERLIN).values} == set(UNNAMED.values())
    pressure = {"component": [{**_coded("8480-6"), **_measured(120)}, {**_coded("8462-4"), **_measured(80)}]}
    found = ({**_coded("85354-9"), **pressure}, {**_coded("19935-6"), **_measured(480, "L/min")})
    known = {"resourceType": "Observation", "status": "final", "effectiveDateTime": "2026-11-20T08:00:00Z"}
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": {**known, **one}} for one in found],
    }
    sources = [value.source for value in read(orjson.dumps(bundle), BERLIN).values]
    assert [(one.name, one.type) for one in sources] == [(UNNAMED[kind], kind) for kind in (CUFF, PEAK_FLOW_METER)]


def _coded(code: str) -> dict[str, Any]:
    return {"code": {"coding": [{"system": "http://loinc.org", "code": code}]}}


def _measured(value: int, unit: str = "mm[Hg]") -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "code": unit}}


def test_the_neutral_table() -> None:
    assert values(samples.TABLE) == [
        (250, "99504-3", "101", "S1"),
        (FIVE, "99504-3", "L", "S1"),
        (7 * 60_000, "20150-9", "3.05", "P1"),
        (6 * 60_000, "85354-9", "121/79", "C1"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("yesterday,99504-3,101,mg/dL,D,S", "no time"),
        ("2026-11-20T07:00:00Z,99504-3,,mg/dL,D,S", "no value"),
        ("2026-11-20T07:00:00Z,99504-3,5.6,mmol/L,D,S", "measured in mg/dL"),
        ("2026-11-20T07:00:00Z,99504-3,0,mg/dL,D,S", "cannot have been measured"),
        ("2026-11-20T07:00:00Z,718-7,14,g/dL,D,S", "unknown code"),
        ("2026-11-20T07:00:00Z,8480-6,121,mmHg,D,S", "lower value"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_taken(row: str, reason: str) -> None:
    file = read(f"{samples.TABLE}{row}\n".encode(), BERLIN)
    assert len(file.values) == 4
    assert [bad.line for bad in file.bad] == [7] and reason in file.bad[0].reason


@pytest.mark.parametrize("name", ALL)
@given(cut=st.floats(0, 1), noise=st.binary(max_size=12))
def test_damaged_files_are_read_or_refused_in_words(name: str, cut: float, noise: bytes) -> None:
    raw = ALL[name].encode()
    at = int(cut * len(raw))
    for damaged in (raw[:at], raw[:at] + noise, raw[:at] + noise + raw[at:]):
        try:
            read(damaged, BERLIN)
        except ImportFileError as error:
            assert "\n" not in str(error)


_JSON_FORMS = {**{name: ALL[name] for name in ("tidepool", "nightscout", "open-mhealth")}, "fhir": samples.FHIR}
_ODD: tuple[Any, ...] = (None, True, 5, -1e300, 1e300, "x", "", "²", "1" * 5000, [], {}, [None], {"": 1}, "deep")
_DEEP = b"[" * 1000 + b"]" * 1000


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every member at any depth."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*above, key)
        yield from _paths(value[key], (*above, key))


@pytest.mark.parametrize("name", _JSON_FORMS)
def test_odd_members_of_json_are_bad_rows_at_most(name: str) -> None:
    assert read(_JSON_FORMS[name].encode(), BERLIN).format == name
    for path in _paths(orjson.loads(_JSON_FORMS[name])):
        for odd in _ODD:
            changed = orjson.loads(_JSON_FORMS[name])
            reduce(getitem, path[:-1], changed)[path[-1]] = odd
            with suppress(ImportFileError):
                for value in read(orjson.dumps(changed).replace(b'"deep"', _DEEP), BERLIN).values:
                    _sendable(value)


def _sendable(value: Value) -> None:
    """A time that RFC 3339 can write, and numbers that can have been measured."""
    assert milliseconds(instant(value.time_ms)) == value.time_ms
    amounts = [value.value, *(amount for _, amount in value.parts)]
    assert not [one for one in amounts if isinstance(one, Decimal) and not 0 < one <= 1000]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"valueQuantity": {', '"valueQuantity": {"comparator": "<", ', "must be a number"),
        ('"valueQuantity": {', '"valueQuantity": {"code": "kPa", ', "no value in mm[Hg]"),
        ('"value": 101', '"value": 1e6', "cannot have been measured"),
        (' E L"', ' E L x"', "form that HDDT defines"),
        ('"period": ', '"period": -', "form that HDDT defines"),
        ('"period": 300000', '"period": "1e999999"', "form that HDDT defines"),
        ('"upperLimit": 400', '"upperLimit": 1e40', "form that HDDT defines"),
    ],
)
def test_an_observation_that_says_no_value_gives_none(before: str, after: str, reason: str) -> None:
    whole = read(samples.FHIR.encode(), BERLIN)
    assert before in samples.FHIR and not whole.bad
    file = read(samples.FHIR.replace(before, after, 1).encode(), BERLIN)
    assert len(file.bad) == 1 and reason in file.bad[0].reason
    assert file.values == [value for value in whole.values if value.line != file.bad[0].line]


@pytest.mark.parametrize(("state", "left"), [("not-calibrated", 1), ("calibration-required", 1), ("calibrated", 0)])
def test_what_a_sensor_measured_before_it_was_calibrated_is_left(state: str, left: int) -> None:
    """An import registers sensors without calibration: to a DiGA it would be as good as any other value."""
    calibrated = f'"id": "m", "calibration": [{{"state": "{state}"}}], '
    file = read(samples.FHIR.replace('"id": "m", ', calibrated, 1).encode(), BERLIN)
    assert (any(value.continuous for value in file.values), file.skipped, file.bad) == (not left, left, [])


def test_a_sample_that_cannot_have_been_measured_leaves_the_others_of_its_chunk() -> None:
    whole = read(samples.FHIR.encode(), BERLIN)
    file = read(samples.FHIR.replace('"data": "', '"data": "9999 ', 1).encode(), BERLIN)
    assert [bad.reason for bad in file.bad] == ["9999 mg/dL cannot have been measured"]
    assert len(file.values) == len(whole.values)


@pytest.mark.parametrize(
    ("text", "before"),
    [(samples.FHIR, '"value": 101'), (samples.OPEN_MHEALTH, '"value":95')],
    ids=["fhir", "open-mhealth"],
)
def test_decimals_of_json_keep_their_digits(text: str, before: str) -> None:
    """5.50 is known more exactly than 5.5; and the patient's table, which has the same values, says 5.50."""
    assert before in text
    read_in = read(text.replace(before, '"value": 95.50').encode(), BERLIN)
    assert "95.50" in [str(value.value) for value in read_in.values]
    for odd in ("1e-99999999999999999999", "9" * 5000, "[" * 1000 + "]" * 1000):
        with suppress(ImportFileError):
            assert len(read(text.replace(before, f'"value": {odd}').encode(), BERLIN).bad) == 1


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1e", "\x85"])
def test_a_line_separator_in_a_note_ends_no_row(separator: str) -> None:
    heading = "time,note,value,unit\n"
    file = read(f"{heading}2026-11-20T07:00:00Z,a{separator}b,101,mg/dL\r\n".encode(), BERLIN)
    assert [(value.line, value.value) for value in file.values] == [(2, Decimal(101))] and not file.bad


def test_a_time_beyond_the_calendar_is_a_bad_row() -> None:
    file = read(f"{samples.TABLE}9999-12-31T23:30:00-01:00,99504-3,101,mg/dL,D,S\n".encode(), BERLIN)
    assert [(bad.line, bad.reason) for bad in file.bad] == [(7, "no time: after 9999")]
    for value in file.values:
        _sendable(value)


def test_many_rows_are_read_in_little_time() -> None:
    start, text = (
        datetime(2026, 8, 1, tzinfo=UTC),
        "Device,Serial Number,Device Timestamp,Record Type,Historic Glucose mg/dL\n",
    )
    rows = (f"Libre 3,A,{start + timedelta(minutes=at):%d-%m-%Y %H:%M},0,{100 + at % 50}\n" for at in range(20_000))
    content = Content((text + "".join(rows)).encode())
    assert [at for at, _ in content.headings] == [0]
    assert len(read(content.raw, BERLIN).values) == 20_000


@pytest.mark.parametrize("form", ["clarity", "table"])
def test_many_rows_take_little_memory(form: str) -> None:
    """Before: 1.8 kB (1.3 kB of a table) while a row was read, and half a kilobyte as long as the values were there."""
    start, rows = datetime(2026, 8, 1, tzinfo=UTC), 4000
    head, line = {
        "clarity": (samples.CLARITY.splitlines()[0], "{at},{time},EGV,,,,Android G7,{value},,,,,{ticks},8ABCDE"),
        "table": ("time,code,value,unit,device,serial", "{time}Z,99504-3,{value},mg/dL,Dexcom G7,S1"),
    }[form]
    times = ((at, f"{start + timedelta(minutes=5 * at):%Y-%m-%dT%H:%M:%S}") for at in range(rows))
    lines = [line.format(at=at, time=time, value=80 + at % 100, ticks=1_000_000 + 300 * at) for at, time in times]
    raw = "\n".join([head, *lines]).encode()
    read(raw, BERLIN)
    tracemalloc.start()
    try:
        file = read(raw, BERLIN)
        gc.collect()
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(file.values) == rows and not file.bad
    assert kept / rows < 250 and most / rows < {"clarity": 1300, "table": 950}[form]


@pytest.mark.parametrize("raw", [b"[" + b"{}," * 400_000 + b"{}]", b"a,b\n" * 300_000, b"Date," * 300_000 + b"\nx,y"])
def test_what_looks_like_nothing_but_headings_is_refused_in_little_time(raw: bytes) -> None:
    content = Content(raw)
    assert sum(len(content.rows[at].cells) for at, _ in content.headings) <= 20_000  # before: all, for a minute
    with pytest.raises(ImportFileError, match="this file has none of the known formats"):
        read(raw, BERLIN)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "cp1252", "mac_roman"])
@pytest.mark.parametrize("text", [samples.CLARITY_DE, samples.LIBREVIEW_DE])
def test_any_encoding_of_a_spreadsheet_is_read(text: str, encoding: str) -> None:
    plain = text.removeprefix("\ufeff")
    assert read(plain.encode(encoding), BERLIN).values == read(text.encode(), BERLIN).values


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xef\xbb\xbf", "empty"),
        (b"\xff\xfe", "empty"),
        (b"%PDF-1.7 x", "PDF"),
        (b"PK\x03\x04x", "Excel"),
        (b"<!DOCTYPE html><p>", "web page"),
    ],
)
def test_what_is_no_export_is_named(raw: bytes, said: str) -> None:
    with pytest.raises(ImportFileError, match=said):
        read(raw, BERLIN)


def test_a_unit_that_is_none_of_glucose_is_a_bad_row() -> None:
    file = read(samples.TIDEPOOL.replace('"units":"mmol/L"', '"units":"kg"', 1).encode(), BERLIN)
    assert len(file.values) == 2 and "kg" in file.bad[0].reason


def test_what_a_file_seems_to_be_is_said() -> None:
    with pytest.raises(ImportFileError, match="looks like LibreView"):
        read(samples.LIBREVIEW.encode(), BERLIN, "clarity")
    with pytest.raises(ImportFileError, match="this file has none of the known formats"):
        read(b"a,b\n1,2\n", BERLIN)
    with pytest.raises(ImportFileError, match="empty"):
        read(b" \n", BERLIN)


def test_a_row_whose_clock_is_missing_was_not_measured_at_midnight() -> None:
    file = read(
        b"Datum;Uhrzeit;Sys;Dia\n01.02.2026;08:05;130;80\n02.02.2026;;131;81\n03.02.2026 08:05;;132;82\n", BERLIN
    )
    assert [value.line for value in file.values] == [2, 4]
    assert [(bad.line, bad.reason) for bad in file.bad] == [(3, "no time: 02.02.2026")]


def test_what_is_no_kind_of_hddt_in_a_bundle_is_left() -> None:
    """A pulse became a value of a meter, which was registered for it. Of several codes the first known one counts."""
    bundle = orjson.loads(samples.FHIR)
    glucose = bundle["entry"][-1]["resource"]
    others = [
        {**glucose, "code": {"coding": [{"system": "http://loinc.org", "code": code}]}}
        for code in ("8867-4", "29463-7")
    ]
    codes = [{"system": "http://loinc.org", "code": code} for code in ("1234-5", "41653-7", "2339-0")]
    bundle["entry"] = [{"resource": one} for one in (*others, {**glucose, "code": {"coding": codes}})]
    file = read(orjson.dumps(bundle), BERLIN)
    assert ([value.code for value in file.values], file.skipped, file.bad) == (["41653-7"], 2, [])


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (samples.LIBREVIEW, "08:15,0,6"),
        (samples.CLARITY.replace("Low", "123"), "08:05:00,EGV,,,,Android G6,12"),
        (samples.CLARITY.replace("Low", "123"), "123,,,,,400"),
        (samples.OMRON.replace("79,121", "130,90"), "Berlin,130,9"),
        (samples.SPIROMETRY.replace("08:00;;", "08:00;412;3,05"), "21.11.2026;08:00;41"),
        (samples.TABLE, "20150-9,3"),
        (samples.GLOOKO, '08:05,"11'),
    ],
)
def test_a_row_in_which_the_file_breaks_off_is_no_value(text: str, end: str) -> None:
    """A download that was cut: 12 was 123, and 8A the serial number of another device."""
    cut = text[: text.index(end)] + end
    line = cut.count("\n") + 1
    file = read(cut.encode(), BERLIN)
    assert file.values and all(value.line < line for value in file.values)
    assert [bad.line for bad in file.bad] == [line] and "in the middle of this row" in file.bad[0].reason


def test_a_file_without_a_last_line_end_is_whole_when_its_row_is() -> None:
    for text in (samples.CLARITY, samples.OMRON, samples.TABLE):
        assert read(text.rstrip("\n").encode(), BERLIN).bad == read(text.encode(), BERLIN).bad
    rows = [f"2026-11-20T07:0{minute}:00Z,99,mg/dL" for minute in range(3)]  # written by hand, all of them short
    for count in (1, 2, 3):
        file = read("\n".join(("time,value,unit,device,serial", *rows[:count])).encode(), BERLIN)
        assert (len(file.values), file.bad) == (count, [])


def test_a_letter_in_which_a_file_breaks_off_changes_no_other() -> None:
    text = samples.LIBREVIEW_DE + "FreeStyle LibreLink,DEF456,20-11-2026 09:20,6,,,Frühstück: M\u00fc"
    file = read(text.encode()[:-1], BERLIN)
    assert len(file.values) == 2 and not file.bad


def test_a_sensor_of_nightscout_that_shows_more_than_401_measures_further() -> None:
    entries = [
        {"sgv": sgv, "date": 1795158000000 + 300_000 * at, "device": "bubble"} for at, sgv in enumerate((39, 401, 450))
    ]
    assert [str(value.value) for value in read(orjson.dumps(entries), BERLIN).values] == ["L", "401", "450"]
    assert [str(value.value) for value in read(orjson.dumps(entries[:2]), BERLIN).values] == ["L", "U"]


@pytest.mark.parametrize("form", ["table", "fhir"])
def test_whoever_switched_the_unit_has_limits_in_both(form: str) -> None:
    """A patient's copy of another recorder, as a table and as FHIR: U in the second unit was "above 22.2"."""
    text = """time,code,value,unit,device,serial,lower_limit,upper_limit
2026-11-20T07:00:00Z,99504-3,U,mg/dL,Sensor,S1,40,500
2026-11-21T07:00:00Z,105272-9,U,mmol/L,Sensor,S1,2.2,27.8
"""
    if form == "fhir":
        copy = orjson.loads(samples.FHIR)
        (first,) = (one for one in copy["entry"] if "valueSampledData" in one["resource"])
        second = orjson.loads(orjson.dumps(first).replace(b"mg/dL", b"mmol/L").replace(b"99504-3", b"105272-9"))
        for one, data, limits in ((first, "101 U", (40, 500)), (second, "5.6 U", (2.2, 27.8))):
            sampled = one["resource"]["valueSampledData"]
            sampled |= {"data": data, "lowerLimit": limits[0], "upperLimit": limits[1]}
        text = orjson.dumps({**copy, "entry": [*copy["entry"], second]}).decode()
    (limits_of,) = read(text.encode(), BERLIN).limits.values()
    assert limits_of == {"mg/dL": (Decimal(40), Decimal(500)), "mmol/L": (Decimal("2.2"), Decimal("27.8"))}


def test_test_data_are_of_no_patient() -> None:
    copy = orjson.loads(samples.FHIR)
    before = read(orjson.dumps(copy), BERLIN)
    glucose = copy["entry"][-1]["resource"]
    glucose["meta"] = {"security": [{"code": "HTEST"}]}
    after = read(orjson.dumps(copy), BERLIN)
    assert (len(after.values), after.skipped) == (len(before.values) - 1, before.skipped + 1)


MODIFIED = {"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]}


def test_what_a_modifier_changes_is_a_bad_row() -> None:
    copy = orjson.loads(samples.FHIR)
    before = read(orjson.dumps(copy), BERLIN)
    for changed in (copy["entry"][-1], copy["entry"][-1]["resource"]):
        changed |= MODIFIED
        after = read(orjson.dumps(copy), BERLIN)
        assert (len(after.values), len(after.bad)) == (len(before.values) - 1, len(before.bad) + 1)
        del changed["modifierExtension"]


@pytest.mark.parametrize(("kind", "lines"), [("Device", {3, 4}), ("DeviceMetric", {3})])
def test_what_a_modified_device_has_measured_is_a_bad_row(kind: str, lines: set[int]) -> None:
    copy = orjson.loads(samples.FHIR)
    (maker,) = (one for one in copy["entry"] if one["resource"]["resourceType"] == kind)
    maker["resource"] |= MODIFIED
    assert {bad.line for bad in read(orjson.dumps(copy), BERLIN).bad} == lines
