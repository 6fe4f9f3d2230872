"""The patient's values: curves with words and tables beside them, days under URLs that reveal nothing, downloads."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from typing import Any
from unittest.mock import patch
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.imports.formats import read
from ddr.patient_pages.charts import LEFT, LINES, RIGHT, WIDTH, axis_value
from ddr.patient_pages.glucose_view import part_of_time
from ddr.patient_pages.ranges import ranges
from ddr.series.packing import ERROR, HIGH, LOW, encode
from ddr.store.audit import patients as trail
from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.patients import export
from ddr.store.patients.erasure import delete_patient
from tests.diga_api.world import CGM, DAY, GLUCOSE, HOUR, LOINC, MINUTE, Body
from tests.fhir.validity import assert_valid
from tests.patient_pages.browser import Browser, inputs
from tests.patient_pages.test_consent import logged_in
from tests.support.patients import Patient

PERIOD = 5 * MINUTE
MIDNIGHT = 1_795_302_000_000  # 2026-11-22T00:00+01:00; the clock of the tests shows 11:00


async def sensor(core: Core, patient: Patient, **columns: Any) -> tuple[Body, int]:
    """A glucose sensor worn for weeks, and its epoch."""
    body = Body(core, patient.patient_id)
    device_no = await body.device("GlukoSense 7")
    sensor_no = await body.sensor(device_no, CGM, **{"code": "99504-3", **columns})
    return body, await body.epoch(device_no, sensor_no, MIDNIGHT - 20 * DAY)


async def meter(body: Body, at_ms: int, value: int, sign: str = "", **columns: Any) -> None:
    """A value of blood glucose, below or above it with a `sign`."""
    comparator = {"comparator": sign} if sign else {}
    content = {
        "resourceType": "Observation",
        "effectiveDateTime": date_time(at_ms),
        "code": {"coding": [{"system": LOINC, "code": "2339-0"}]},
        "valueQuantity": {"value": value, **comparator, "unit": "mg/dl", "code": "mg/dL"},
    }
    await body.measurement(GLUCOSE, "2339-0", at_ms, content=content, **columns)


async def worn(core: Core, days: int = 3) -> tuple[Patient, Browser]:
    """A patient with glucose values of these days, the last one the first three hours of 22 November."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    for k in range(days - 1):
        await body.chunk(epoch_no, k, MIDNIGHT - (days - 1 - k) * DAY, [100 + slot % 97 for slot in range(288)])
    await body.chunk(epoch_no, days - 1, MIDNIGHT, [60, 64, *[120] * 33, 201])
    return patient, browser


def words(html: str, kind: str) -> str:
    """What the picture `kind` says to those who cannot see it."""
    found = re.search(rf'aria-label="({kind}\. [^"]+)"', html)
    assert found
    return found[1]


async def test_the_latest_day_is_told_in_words_and_numbers(core: Core) -> None:
    _, browser = await worn(core)
    page = (await browser.get("/me/data")).text
    assert "Tageskurve: 22. November 2026" in page
    assert words(page, "Tageskurve") == (
        "Tageskurve. 36 Werte in mg/dL, niedrigster 60 um 00:00 Uhr, höchster 201 um 02:55 Uhr."
    )
    assert '<th scope="row">00:00</th><td>60</td><td>120</td><td>120</td><td>12</td>' in page


async def test_nothing_large_is_drawn_or_written_on_the_event_loop(core: Core) -> None:
    patient, browser = await worn(core)
    body = Body(core, patient.patient_id)
    for at in range(30):
        await meter(body, MIDNIGHT - at * HOUR, 100 + at)
    drawn: dict[str, bool] = {}

    def noting(name: str, work: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            drawn[name] = threading.current_thread() is not threading.main_thread()
            return work(*args, **kwargs)

        return noted

    with ExitStack() as stack:
        for place in ("glucose_view.profile_chart", "glucose_view.day_chart", "singles_view.trend_chart", "data.page"):
            room, _, name = place.partition(".")
            module = import_module(f"ddr.patient_pages.{room}")
            stack.enter_context(patch.object(module, name, noting(name, getattr(module, name))))
        assert (await browser.get("/me/data")).status_code == 200
        assert drawn == {"profile_chart": True, "day_chart": True, "trend_chart": True, "page": True}
        drawn.clear()
        assert (await browser.get("/me/data/values")).status_code == 200
        assert drawn == {"page": True}


async def test_the_profile_is_that_of_the_summary(core: Core) -> None:
    _, browser = await worn(core, days=15)
    page = (await browser.get("/me/data")).text
    assert "9. November 2026 bis 22. November 2026, Tage mit Messwerten: 14" in page
    assert "Mittlerer Wert über den Tag" in words(page, "Glukoseprofil")
    assert page.count('class="median"') == 1
    assert 'im Zielbereich <span class="counted">70–180</span>' in page and "181–250" in page and "54–69" in page
    assert "Standardabweichung" in page


async def test_days_are_reached_by_addresses_that_tell_nothing(core: Core) -> None:
    _, browser = await worn(core)
    page = await browser.get("/me/data")
    assert "Tag danach" not in page.text
    address = re.search(r'href="(/me/data/[0-9a-f]{32})">← Tag davor', page.text)
    assert address
    before = await browser.get(address[1])
    assert "Tageskurve: 21. November 2026" in before.text
    assert "Tag danach" in before.text
    chosen = await browser.post("/me/data", page, day="2026-11-20")
    assert chosen.status_code == 303
    assert "2026" not in chosen.headers["location"]
    first = await browser.get(chosen.headers["location"])
    assert "Tageskurve: 20. November 2026" in first.text
    assert "Tag davor" not in first.text


@pytest.mark.parametrize(("day", "shown"), [("1066-10-14", "1. Januar 2000"), ("9999-12-31", "31. Dezember 2099")])
async def test_days_without_values_are_told(core: Core, day: str, shown: str) -> None:
    _, browser = await worn(core)
    chosen = await browser.post("/me/data", await browser.get("/me/data"), day=day)
    page = (await browser.get(chosen.headers["location"])).text
    assert f"Tageskurve: {shown}" in page
    assert "An diesem Tag wurde nichts gemessen" in page


@pytest.mark.parametrize("place", ["x", "0" * 32, "device"])
async def test_other_addresses_are_none(core: Core, place: str) -> None:
    _, browser = await worn(core)
    place = core.ids.device(1) if place == "device" else place
    assert (await browser.get(f"/me/data/{place}")).status_code == 404


@pytest.mark.parametrize("day", ["", "yesterday", "2026-02-30", "275760-09-13", "24.12.26"])
async def test_what_is_no_day_is_told(core: Core, day: str) -> None:
    """The message is at the field, with an example: the page was not "open for too long" (WCAG 3.3.1, 3.3.3)."""
    _, browser = await worn(core)
    answer = await browser.post("/me/data", await browser.get("/me/data"), day=day)
    page = await browser.get(answer.headers["location"])
    assert page.status_code == 200 and "<title>Fehler: " in page.text
    assert (
        '<a href="#choose">Diesen Tag können wir nicht lesen. Bitte schreiben Sie ihn so: 24.12.2026.</a>' in page.text
    )
    (field,) = [one for one in inputs(page.text) if one.get("id") == "choose"]
    assert (field["aria-invalid"], field["aria-describedby"]) == ("true", "error")
    assert "Fehler" not in (await browser.get("/me/data")).text


async def test_a_day_may_be_written_as_in_germany(core: Core) -> None:
    """A browser without a calendar for `type=date` gives a line to write in."""
    _, browser = await worn(core)
    answer = await browser.post("/me/data", await browser.get("/me/data"), day=" 20.11.2026")
    assert "Tageskurve: 20. November 2026" in (await browser.get(answer.headers["location"])).text


async def test_limits_gaps_and_errors(core: Core) -> None:
    """`L` and `U` are drawn at the edge and told as below and above; an error is a gap."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, lower_limit=Decimal(40), upper_limit=Decimal(400))
    await body.chunk(epoch_no, 0, MIDNIGHT, [LOW, 100, ERROR, 110, HIGH, 120])
    page = (await browser.get("/me/data")).text
    assert "niedrigster &lt;40 um" in words(page, "Tageskurve")
    assert "höchster &gt;400 um" in words(page, "Tageskurve")
    assert page.count('class="curve"') == 2


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
async def test_a_day_of_23_or_25_hours_is_drawn_by_the_clock(core: Core, day: date) -> None:
    """What was measured at noon stands over 12:00, also after the clocks have changed in the night."""
    patient, browser = await logged_in(core)
    noon = round(datetime.combine(day, time(12), ZoneInfo("Europe/Berlin")).timestamp() * 1000)
    body = Body(core, patient.patient_id)
    device_no = await body.device("GlukoSense 7")
    sensor_no = await body.sensor(device_no, CGM, code="99504-3")
    await body.chunk(await body.epoch(device_no, sensor_no, noon), 0, noon, [100])
    page = (await browser.get("/me/data")).text
    (drawn,) = re.findall(r'<circle class="dot" cx="([0-9.]+)"', page)
    below = dict(re.findall(r'<text class="hour h([0-9]+)" x="([0-9.]+)"', page.partition('id="profile"')[0]))
    assert "1 Wert in mg/dL: 100 um 12:00 Uhr." in page and drawn == below["12"]
    assert (below["0"], below["24"]) == ("88.0", "628.0"), "from edge to edge"


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 3, 29), ["00:00", "01:00", "03:00"]),
        (date(2026, 10, 25), ["00:00", "01:00", "02:00 Sommerzeit", "02:00 Winterzeit", "03:00"]),
    ],
)
async def test_each_hour_of_a_day_of_23_or_25_hours_has_its_row(core: Core, day: date, expected: list[str]) -> None:
    patient, browser = await logged_in(core)
    begins = round(datetime.combine(day, time(0), ZoneInfo("Europe/Berlin")).timestamp() * 1000)
    body = Body(core, patient.patient_id)
    device_no = await body.device("GlukoSense 7")
    sensor_no = await body.sensor(device_no, CGM, code="99504-3")
    await body.chunk(await body.epoch(device_no, sensor_no, begins), 0, begins, [100] * 12 * len(expected))
    page = (await browser.get("/me/data")).text
    table = page.partition("Tag als Tabelle")[2].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">([^<]+)</th>.*<td>(\d+)</td></tr>', table)
    assert rows == [(hour, "12") for hour in expected]


async def test_the_curve_in_words_tells_which_of_two_hours_it_means(core: Core) -> None:
    patient, browser = await logged_in(core)
    begins = round(datetime(2026, 10, 25, 2, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)
    body = Body(core, patient.patient_id)
    device_no = await body.device("GlukoSense 7")
    sensor_no = await body.sensor(device_no, CGM, code="99504-3")
    await body.chunk(await body.epoch(device_no, sensor_no, begins), 0, begins, [*[100] * 12, 90, *[100] * 12, 120])
    page = (await browser.get("/me/data")).text
    assert "niedrigster 90 um 02:00 Uhr Winterzeit, höchster 120 um 03:05 Uhr." in page


async def test_a_gap_of_one_sensor_is_one_beside_a_slower_sensor(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    await body.chunk(epoch_no, 0, MIDNIGHT, [100, 110, ERROR, ERROR, 120, 130])
    _, slow = await sensor(core, patient, period_ms=15 * MINUTE)
    stored = [(MIDNIGHT + 4 * HOUR + at * 15 * MINUTE, 100 + at) for at in range(4)]
    times, vals = encode(stored, MIDNIGHT + 4 * HOUR, 15 * MINUTE)
    await body.chunk(slow, 0, MIDNIGHT + 4 * HOUR, [], times=times, vals=vals, last_ms=stored[-1][0], filled=4)
    assert (await browser.get("/me/data")).text.count('class="curve"') == 3


@pytest.mark.parametrize(("worn", "lowest"), [(True, 110), (False, 45)])
async def test_warm_up_hides_no_value_of_the_sensor_before(core: Core, worn: bool, lowest: int) -> None:
    """As in the summary; but where nothing else was measured the curve has it."""
    patient, browser = await logged_in(core)
    body, former = await sensor(core, patient)
    if worn:
        await body.chunk(former, 0, MIDNIGHT, [110, 111, 112])
    _, epoch_no = await sensor(core, patient, started_ms=MIDNIGHT)
    await core.pool.execute("UPDATE epoch SET calibration_state = 'not-calibrated' WHERE epoch_no = $1", epoch_no)
    await body.chunk(epoch_no, 0, MIDNIGHT, [45, 46, 47])
    assert f"3 Werte in mg/dL, niedrigster {lowest} um" in words((await browser.get("/me/data")).text, "Tageskurve")


async def test_a_value_of_the_curve_is_told_as_a_diga_reads_it(core: Core) -> None:
    """69.5 is below the target range, and 70 would be within."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, decimals=1, lower_limit=Decimal(40))
    await body.chunk(epoch_no, 0, MIDNIGHT, [695, 1805, LOW])
    page = (await browser.get("/me/data")).text
    assert "<td>&lt;40,0</td><td>69,5</td><td>180,5</td><td>3</td>" in page


async def test_a_number_is_below_a_limit_only_if_the_sensor_has_one(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    await body.chunk(epoch_no, 0, MIDNIGHT, [39, 100, 401])
    assert "niedrigster 39 um 00:00 Uhr, höchster 401 um" in words((await browser.get("/me/data")).text, "Tageskurve")


@pytest.mark.parametrize(
    ("columns", "values", "mean"),
    [
        ({}, [124, 125], "125 mg/dL"),
        ({"unit": "mmol/L", "decimals": 1, "code": "105272-9"}, [82, 83], "8,3 mmol/L"),
    ],
)
async def test_halves_are_rounded_up_as_in_the_report(
    core: Core, columns: dict[str, Any], values: list[int], mean: str
) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, **columns)
    await body.chunk(epoch_no, 0, MIDNIGHT, values)
    assert f"<dt>Durchschnitt</dt><dd>{mean}</dd>" in (await browser.get("/me/data")).text


async def test_the_rest_of_the_running_day_is_no_time_without_readings(core: Core) -> None:
    """The report for a DiGA ends now, too."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    for k in range(7):
        at_ms = MIDNIGHT - (6 - k) * DAY
        await body.chunk(epoch_no, k, at_ms, [100] * min(288, (core.clock() - at_ms) // PERIOD))
    page = (await browser.get("/me/data?days=7")).text
    assert "<dt>Zeit mit Messwerten</dt><dd>100 %</dd>" in page


async def test_values_in_mmol(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, unit="mmol/L", decimals=1, code="105272-9")
    await body.chunk(epoch_no, 0, MIDNIGHT, [56, 78, 112])
    page = (await browser.get("/me/data")).text
    assert "niedrigster 5,6 um 00:00 Uhr, höchster 11,2 um 00:10 Uhr" in page
    assert all(f">{line}</text>" in page for line in ("3,9", "10,0"))
    assert 'im Zielbereich <span class="counted">3,9–10,0</span>' in page
    english = await browser.http.get("/me/data", headers={"accept-language": "en"})
    assert 'in the target range <span class="counted">3.9–10.0</span>' in english.text


async def test_nothing_is_measured_yet(core: Core) -> None:
    _, browser = await logged_in(core)
    page = (await browser.get("/me/data")).text
    assert "Es sind noch keine Messwerte gespeichert" in page
    assert "<svg" not in page


async def test_single_measurements(core: Core) -> None:
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    device_no = await body.device("Pulsar")
    await meter(body, MIDNIGHT + HOUR, 103, device_no=device_no)
    await body.pressure(MIDNIGHT + 2 * HOUR, 128, 82)
    page = (await browser.get("/me/data")).text
    assert page.index("Blutdruck</th>") < page.index("Blutzucker</th>")
    assert "22.11.2026, 02:00" in page
    assert re.search(r"Systolisch</span> 128 mmHg", page)
    assert "103 mg/dL" in page


async def test_english(core: Core) -> None:
    patient, browser = await logged_in(core, "en")
    body, epoch_no = await sensor(core, patient)
    await body.chunk(epoch_no, 0, MIDNIGHT, [100, 120])
    page = (await browser.get("/me/data")).text
    assert "Curve of the day: 22 November 2026" in page
    assert "lowest 100 at 00:00" in page


async def test_the_table_has_every_reading_with_its_exact_time(core: Core) -> None:
    """Also the one that is hidden because another one is nearer to the slot's time."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    stored = [(MIDNIGHT, 100), (MIDNIGHT + 60_123, 101), (MIDNIGHT + PERIOD, LOW), (MIDNIGHT + 2 * PERIOD, ERROR)]
    times, vals = encode(stored, MIDNIGHT, PERIOD)
    await body.chunk(epoch_no, 0, MIDNIGHT, [100], times=times, vals=vals, last_ms=stored[-1][0], filled=3)
    device_no = await body.device("=HYPERLINK(1)", serial_number="@SN")
    await meter(body, MIDNIGHT + HOUR, 103, device_no=device_no)
    answer = await browser.get("/me/data.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="messwerte.csv"'
    assert answer.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["time"], row["value"], row["shown"]) for row in rows] == [
        ("2026-11-21T23:00:00.000Z", "100", "yes"),
        ("2026-11-21T23:01:00.123Z", "101", "no"),
        ("2026-11-21T23:05:00.000Z", "L", "yes"),
        ("2026-11-21T23:10:00.000Z", "E", "yes"),
        ("2026-11-22T00:00:00.000Z", "103", "yes"),
    ]
    assert {(row["kind"], row["unit"]) for row in rows} == {("Gewebezucker-Verlauf", "mg/dL"), ("Blutzucker", "mg/dL")}
    assert (rows[-1]["device"], rows[-1]["serial"]) == ("'=HYPERLINK(1)", "'@SN")
    brought = read(answer.content, UTC)  # another recorder takes it
    assert [str(value.value) for value in brought.values] == ["100", "101", "L", "103"]
    assert (brought.format, brought.skipped, brought.bad) == ("table", 1, [])


async def test_another_recorder_learns_makers_kinds_and_limits(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, unit="mmol/L", decimals=1, code="105272-9", lower_limit=Decimal("2.2"))
    await core.pool.execute("UPDATE sensor SET upper_limit = 27.8")
    await body.chunk(epoch_no, 0, MIDNIGHT, [56, LOW])
    device_no = await body.device("Asthmaton", type_code="303501006", manufacturer="Puste AG")
    await meter(body, MIDNIGHT + HOUR, 103, device_no=device_no)
    await meter(body, MIDNIGHT + 2 * HOUR, 999, device_no=device_no, status="entered-in-error")
    for path in ("/me/data.csv", "/me/data-excel.csv"):
        brought = read((await browser.get(path)).content, ZoneInfo("Europe/Berlin"))
        series, _, single = brought.values
        assert brought.limits == {series.source: {"mmol/L": (Decimal("2.2"), Decimal("27.8"))}}
        assert (single.source.manufacturer, single.source.type) == ("Puste AG", "303501006")


async def test_another_recorder_takes_lo_and_leaves_what_failed(core: Core) -> None:
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    device_no = await body.device("Meter", serial_number="M1")
    quantity = {"value": 20, "comparator": "<", "unit": "mg/dl", "code": "mg/dL"}
    results: tuple[dict[str, Any], ...] = (
        {"valueQuantity": quantity},
        {"dataAbsentReason": {"coding": [{"code": "error"}]}},
    )
    for at, told in enumerate(results):
        coding = {"code": {"coding": [{"system": LOINC, "code": "2339-0"}]}}
        moment = {"resourceType": "Observation", "effectiveDateTime": date_time(MIDNIGHT + at * HOUR)}
        content = {**moment, **coding, **told}
        await body.measurement(GLUCOSE, "2339-0", MIDNIGHT + at * HOUR, content=content, device_no=device_no)
    for path in ("/me/data.csv", "/me/data-excel.csv", "/me/data.json"):
        brought = read((await browser.get(path)).content, ZoneInfo("Europe/Berlin"))
        assert [(one.comparator, one.value) for one in brought.values] == [("<", Decimal(20))]
        assert not brought.bad


async def test_the_copy_says_of_a_meter_what_a_diga_is_told(core: Core) -> None:
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    device_no = await body.device("Zuckermesser", heard_ms=core.clock() - 1000)
    await meter(body, MIDNIGHT + HOUR, 103, device_no=device_no)
    bundle = orjson.loads((await browser.get("/me/data.json")).content)
    assert [entry["resource"].get("status") for entry in bundle["entry"]][:1] == ["active"]


async def test_the_bundle_has_what_a_diga_gets(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNKS_PER_PAGE", 1)
    monkeypatch.setattr(export, "MEASUREMENTS_PER_PAGE", 1)
    patient, browser = await worn(core)
    body = Body(core, patient.patient_id)
    device_no = await body.device("Pulsar")
    for hour in range(3):
        await body.pressure(MIDNIGHT + hour * HOUR, 128, 82, device_no=device_no)
    answer = await browser.get("/me/data.json")
    assert answer.headers["content-type"].startswith("application/fhir+json")
    bundle = orjson.loads(answer.content)
    types = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert types == ["Device"] * 2 + ["DeviceMetric"] + ["Observation"] * 6
    assert len({entry["fullUrl"] for entry in bundle["entry"]}) == 9
    assert "patient" not in {key.lower() for entry in bundle["entry"] for key in entry["resource"]}
    assert_valid(bundle)


async def test_the_bundle_has_what_no_diga_may_read_any_more(core: Core) -> None:
    """The recorder serves neither kind now; what was measured is the patient's all the same."""
    patient, browser = await worn(core)
    await Body(core, patient.patient_id).pressure(MIDNIGHT + HOUR, 128, 82)
    before = orjson.loads((await browser.get("/me/data.json")).content)
    core.catalog = replace(core.catalog, mivs=tuple(miv for miv in core.catalog.mivs if miv.name == GLUCOSE))
    after = orjson.loads((await browser.get("/me/data.json")).content)
    told = [[one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Observation"]
            for bundle in (before, after)]  # fmt: skip
    assert len(told[1]) == 4
    for served, stored in zip(*told, strict=True):
        assert_valid(stored)
        assert "profile" not in stored["meta"] and stored["id"] == served["id"]
        assert stored["code"]["coding"][0]["code"] == served["code"]["coding"][0]["code"]
        left = {"meta", "code", "subject", "valueSampledData"}
        assert {k: v for k, v in stored.items() if k not in left} == {k: v for k, v in served.items() if k not in left}
        assert stored.get("valueSampledData", {}).get("data") == served.get("valueSampledData", {}).get("data")


async def test_an_empty_bundle_has_no_entry(core: Core) -> None:
    _, browser = await logged_in(core)
    bundle = orjson.loads((await browser.get("/me/data.json")).content)
    assert bundle.keys() == {"resourceType", "type", "timestamp"}
    assert (await browser.get("/me/data.csv")).text.count("\n") == 1


@pytest.mark.parametrize("path", ["/me/data", "/me/data.csv", "/me/data.json"])
async def test_others_see_nothing_of_it(core: Core, path: str) -> None:
    await worn(core)
    _, other = await logged_in(core)
    answer = await other.get(path)
    assert answer.status_code == 200
    assert "GlukoSense" not in answer.text
    assert "<svg" not in answer.text
    assert (await Browser(core).get(path)).headers["location"] == "/login"


FILES = (
    *("/me/data.csv", "/me/data-excel.csv", "/me/data.json"),
    *("/me/consents.csv", "/me/consents-excel.csv", "/me/accesses.csv", "/me/accesses-excel.csv"),
)


@pytest.mark.parametrize("path", FILES)
async def test_no_file_of_a_patient_who_is_deleted_meanwhile_looks_whole(
    core: Core, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    _, browser = await worn(core)
    module: Any = trail if "accesses" in path else export
    read = trail.upto if "accesses" in path else export.chunks if "/data" in path else export.consents

    async def deleted_meanwhile(pool: Any, patient_id: UUID, *more: Any) -> AsyncIterator[Any]:
        async for row in read(pool, patient_id, *more):
            yield row
        await delete_patient(core.pool, patient_id, core.clock())

    monkeypatch.setattr(module, read.__name__, deleted_meanwhile)
    with pytest.raises(ChangedMeanwhile):  # the server cuts the connection then
        await browser.get(path)


async def test_no_file_misses_readings_that_go_back_meanwhile(core: Core) -> None:
    """A calibration that is taken back gives its readings to the epoch before, which was read already."""
    patient, _ = await worn(core)

    async def pieces(withdrawn: bool) -> AsyncIterator[bytes]:
        yield b"1"
        if withdrawn:
            await core.pool.execute("UPDATE epoch SET withdrawn = true WHERE patient_id = $1", patient.patient_id)
        yield b"2"

    whole = export.whole(core.pool, patient.patient_id, pieces(False))
    assert [piece async for piece in whole] == [b"1", b"2"]
    given = []
    with pytest.raises(ChangedMeanwhile):
        async for piece in export.whole(core.pool, patient.patient_id, pieces(True)):
            given.append(piece)
    assert given == [b"1"], "the last one is held back: it may be what makes a document whole"


async def test_downloads_are_in_the_trail(core: Core) -> None:
    _, browser = await worn(core)
    await browser.get("/me/data.csv")
    assert "Sie haben Ihre Daten heruntergeladen" in (await browser.get("/me/access")).text


async def test_who_asks_for_the_headers_has_downloaded_nothing(core: Core) -> None:
    _, browser = await worn(core)
    for path in FILES:
        answer = await browser.http.head(path)
        assert answer.status_code == 200 and answer.content == b"" and "content-length" not in answer.headers
        assert answer.headers["content-disposition"].startswith("attachment")
    assert "Sie haben Ihre Daten heruntergeladen" not in (await browser.get("/me/access")).text


def test_every_line_of_the_charts_has_its_value_in_both_units() -> None:
    assert [axis_value(line, unit) for line in LINES for unit in ("mg/dL", "mmol/L")] == [
        "70", "3.9", "180", "10.0", "54", "3.0", "250", "13.9", "300", "16.7", "400", "22.2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "percent, told", [("69.49", "69"), ("69.5", "69,5"), ("69.98", "69,9"), ("70", "70"), ("0", "0"), ("99.6", "100")]
)
def test_what_is_not_enough_is_not_rounded_up_to_it(percent: str, told: str) -> None:
    """The page said: readings for only 70 %, meaningful from 70 % on."""
    assert part_of_time(Fraction(percent), "de") == told


async def test_a_period_can_be_chosen(core: Core) -> None:
    _, browser = await worn(core, days=15)
    week = (await browser.get("/me/data?days=7")).text
    assert "16. November 2026 bis 22. November 2026" in week
    assert '<a href="/me/data?days=7#period" aria-current="true">' in week
    month = (await browser.get("/me/data?days=30")).text
    assert "24. Oktober 2026 bis 22. November 2026" in month
    assert "erst ab 70 % aussagekräftig" in month and "unsicher" in month
    assert (await browser.get("/me/data?days=8")).status_code == 404


async def test_a_period_stays_with_another_day_and_a_day_with_another_period(core: Core) -> None:
    _, browser = await worn(core, days=15)
    month = await browser.get("/me/data?days=30")
    before = re.search(r'href="([^"]+)">← Tag davor', month.text)
    assert before
    chosen = await browser.post("/me/data?days=30", month, day="2026-11-20")
    for address, day in ((before[1], 21), (chosen.headers["location"], 20)):
        page = (await browser.get(address)).text
        assert f"Tageskurve: {day}. November 2026" in page and "24. Oktober 2026 bis 22. November 2026" in page
        week = re.search(r'href="([^"]+days=7)#period"', page)
        assert week
        page = (await browser.get(week[1])).text
        assert f"Tageskurve: {day}. November 2026" in page and "16. November 2026 bis 22. November 2026" in page
    unreadable = await browser.post("/me/data?days=30", month, day="20.20.2026")
    assert "24. Oktober 2026 bis 22. November 2026" in (await browser.get(unreadable.headers["location"])).text


async def test_a_period_with_too_few_values_leads_to_the_others(core: Core) -> None:
    """Somebody who measures twice a month sees no curve of two weeks, and has to get at the one of a month."""
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    await meter(body, MIDNIGHT, 112)
    assert "days=30" not in (await browser.get("/me/data")).text
    await meter(body, MIDNIGHT - 20 * DAY, 98)
    page = (await browser.get("/me/data")).text
    assert 'class="chart"' not in page and "zu wenige Messwerte für eine Kurve" in page
    assert 'href="/me/data?days=30#period"' in page
    month = (await browser.get("/me/data?days=30")).text
    assert 'class="chart"' in month and "zu wenige Messwerte für eine Kurve" not in month


async def test_who_has_readings_but_no_profile_reads_why(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    await core.pool.execute("UPDATE epoch SET calibration_state = 'not-calibrated' WHERE epoch_no = $1", epoch_no)
    await body.chunk(epoch_no, 0, MIDNIGHT, [100, 110, 120])
    page = (await browser.get("/me/data")).text
    assert "Tageskurve. 3 Werte" in page and "Glukoseprofil. " not in page
    assert "zum Beispiel weil der Sensor nicht kalibriert ist" in page and "zu wenige Messwerte" not in page


async def test_a_reference_value_from_next_year_on_takes_no_curve_away(core: Core) -> None:
    """It holds from a day on, at no time of it."""
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    await meter(body, MIDNIGHT, 112)
    await meter(body, MIDNIGHT - DAY, 98)
    best = {
        "resourceType": "Observation",
        "code": {"coding": [{"system": LOINC, "code": "83368-1"}]},
        "effectivePeriod": {"start": "2027-01-01"},
        "valueQuantity": {"value": 480, "unit": "L/min", "code": "L/min"},
    }
    await body.measurement("lung-function-testing", "83368-1", MIDNIGHT + 40 * DAY, content=best)
    page = (await browser.get("/me/data")).text
    assert 'class="chart"' in page and "9. November 2026 bis 22. November 2026, Messungen: 2" in page
    assert "<td>1. Januar 2027</td>" in page and "<td>22.11.2026, 00:00</td>" in page


async def test_curves_of_one_kind_have_names_of_their_own(core: Core) -> None:
    """Who goes from heading to heading heard "Lungenfunktion" three times; and found a menu without other days."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    await body.chunk(epoch_no, 0, MIDNIGHT, [104])
    for code, unit in (("19935-6", "L/min"), ("20150-9", "L")):
        for at_ms in (MIDNIGHT - DAY, MIDNIGHT):
            content = {
                "resourceType": "Observation",
                "effectiveDateTime": date_time(at_ms),
                "code": {"coding": [{"system": LOINC, "code": code}]},
                "valueQuantity": {"value": 3, "unit": unit, "code": unit},
            }
            await body.measurement("lung-function-testing", code, at_ms, content=content)
    page = (await browser.get("/me/data")).text
    headings = [re.sub("<[^>]+>", "", name) for name in re.findall(r'<h2 id="trend-\d">(.+?)</h2>', page)]
    assert sorted(headings) == ["Lungenfunktion (L)", "Lungenfunktion (L/min)"]
    assert "Andere Tage" not in page


async def test_a_single_value_is_told_as_one(core: Core) -> None:
    """A person who hears the page was told "1 Werte, niedrigster 104, höchster 104"."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    await body.chunk(epoch_no, 0, MIDNIGHT, [104])
    for at_ms, codes in ((MIDNIGHT - DAY, ("8480-6",)), (MIDNIGHT, ("8480-6", "8478-0"))):
        quantity = {"value": 85, "unit": "mm[Hg]", "code": "mm[Hg]"}
        parts = [{"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": quantity} for code in codes]
        content = {"resourceType": "Observation", "effectiveDateTime": date_time(at_ms), "component": parts}
        await body.measurement("blood-pressure-value", "85354-9", at_ms, None, content=content)
    for lang, first, second in (
        ("de", "Tageskurve. 1 Wert in mg/dL: 104 um 00:00 Uhr.", "Mittlerer Druck: 1 Wert, 85 mmHg."),
        ("en", "Curve of the day. 1 reading in mg/dL: 104 at 00:00.", "Mean pressure: 1 reading, 85 mmHg."),
    ):
        page = (await browser.get(f"/me/data?lang={lang}")).text
        assert first in page and second in page


async def test_a_quarter_of_an_hour_alone_can_be_seen_in_the_profile(core: Core) -> None:
    """A line and bands of a single point were drawn: that is nothing, below words that explain the line."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    await body.chunk(epoch_no, 0, MIDNIGHT, [104])
    page = (await browser.get("/me/data")).text
    found = re.search(r'<path class="median" d="M([0-9.]+) ([0-9.]+)L([0-9.]+) \2"/>', page)
    assert found and float(found[3]) - float(found[1]) == pytest.approx((WIDTH - LEFT - RIGHT) / 96, abs=0.1)


@pytest.mark.parametrize("days", [7, 14, 30, 90])
async def test_the_days_below_a_curve_stand_under_what_was_measured_on_them(core: Core, days: int) -> None:
    """Under noon, give or take the hour by which clocks were changed; the first and the last one stand at the ends."""
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    for on in range(days):
        await meter(body, MIDNIGHT - 12 * HOUR - on * DAY, 100)
    page = (await browser.get(f"/me/data?days={days}")).text
    noons = [float(x) for x in re.findall(r'<circle class="dot c0" cx="([0-9.]+)"', page)]
    below = re.findall(r'<text class="hour (?:between)?" x="([0-9.]+)" y="[0-9]+">([0-9]+)\.([0-9]+)\.<', page)
    assert len(noons) == days and len(below) == 3
    for x, day, month in below:
        ago = (date(2026, 11, 21) - date(2026, int(month), int(day))).days
        assert abs(float(x) - noons[days - 1 - ago]) < 1, (day, month)


async def test_shares_and_times_per_day_add_up(core: Core) -> None:
    _, browser = await worn(core, days=15)
    page = (await browser.get("/me/data")).text
    shares = [float(share.replace(",", ".")) for share in re.findall(r"<td>([0-9]+,[0-9]) %</td>", page)]
    times = [int(hours) * 60 + int(minutes) for hours, minutes in re.findall(r"<td>(\d+) h (\d+) min</td>", page)]
    assert len(shares) == len(times) == 5
    assert sum(round(share * 10) for share in shares) == 1000 and sum(times) == 1440


@given(st.lists(st.integers(0, 10**6), min_size=5, max_size=5).filter(any))
def test_ranges_sum_to_a_hundred_and_a_day(counts: list[int]) -> None:
    shares = [Fraction(100 * count, sum(counts)) for count in counts]
    found = ranges(shares, "mg/dL")
    assert sum(one.share for one in found) == 1000 and sum(one.minutes for one in found) == 1440
    assert all(abs(one.share - 10 * shares[one.place]) < 1 for one in found)


async def test_sensor_changes_and_calibrations_are_marked(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, started_ms=MIDNIGHT)
    await body.chunk(epoch_no, 0, MIDNIGHT, [100] * 24)
    sensor_no = await core.pool.fetchval("SELECT sensor_no FROM sensor WHERE patient_id = $1", patient.patient_id)
    for hours, state in ((1, "calibrated"), (2, "calibration-required")):  # which asks for one
        await core.pool.execute(
            "INSERT INTO calibration VALUES ($1, $2, $3, $4, NULL, 'x', 0)",
            patient.patient_id,
            sensor_no,
            MIDNIGHT + hours * HOUR,
            state,
        )
    page = (await browser.get("/me/data")).text
    assert "00:00: neuer Sensor" in page and "01:00: Kalibrierung" in page and "02:00: Kalibrierung" not in page
    assert page.count('class="mark"') == 2


async def test_single_values_have_curves_and_pages(core: Core) -> None:
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    device_no = await body.device("Pulsar")
    for hour in range(130):
        await body.pressure(MIDNIGHT - hour * HOUR, 120 + hour % 9, 70 + hour % 7, device_no=device_no)
    page = (await browser.get("/me/data")).text
    assert "Systolisch: " in words(page, "Blutdruck")
    assert page.count('class="course c') == 4  # two curves, and both in the legend
    listed = await browser.get("/me/data/values")
    assert listed.text.count("<tr>") == 101
    older = re.search(r'href="(/me/data/values\?before=[0-9a-f]{32})"', listed.text)
    assert older
    rest = (await browser.get(older[1])).text
    assert rest.count("<tr>") == 31 and "Ältere" not in rest
    assert (await browser.get("/me/data/values?before=" + "0" * 32)).status_code == 404


async def test_words_of_a_curve_say_what_lies_beyond_the_meter(core: Core) -> None:
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    await meter(body, MIDNIGHT, 20)
    await meter(body, MIDNIGHT + HOUR, 20, sign="<")
    await meter(body, MIDNIGHT + 2 * HOUR, 600, sign=">")
    assert "3 Werte, &lt;20 bis &gt;600 mg/dL" in words((await browser.get("/me/data")).text, "Blutzucker")


async def test_what_is_withheld_until_its_sensor_is_calibrated_is_not_shown(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, shown_from_ms=2**63 - 1)
    await body.chunk(epoch_no, 0, MIDNIGHT, [100, 120])
    rows = csv.DictReader(io.StringIO((await browser.get("/me/data.csv")).text, newline=""))
    assert [(row["value"], row["shown"]) for row in rows] == [("100", "no"), ("120", "no")]


async def test_the_table_for_excel(core: Core) -> None:
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient, unit="mmol/L", decimals=1, code="105272-9")
    await body.chunk(epoch_no, 0, MIDNIGHT, [56, 78])
    answer = await browser.get("/me/data-excel.csv")
    lines = answer.content.decode("utf-8").splitlines()
    assert lines[0].startswith("\ufeffZeit;Code;Wert;Einheit;")
    assert lines[1].startswith('22.11.2026 00:00:00;"=""105272-9""";5,6;mmol/L;')
    assert [str(value.value) for value in read(answer.content, ZoneInfo("Europe/Berlin")).values] == ["5.6", "7.8"]


async def test_the_table_for_excel_has_the_times_of_the_other_one(core: Core) -> None:
    """Also as a spreadsheet saves it: what an import knows from one table is there when it comes from the other."""
    patient, browser = await logged_in(core)
    body, epoch_no = await sensor(core, patient)
    await body.chunk(epoch_no, 0, MIDNIGHT + 250, [100, 120])
    await meter(body, MIDNIGHT + HOUR + 5_125, 112)
    exact, excel = [(await browser.get(f"/me/{name}")).content for name in ("data.csv", "data-excel.csv")]
    saved = re.sub(r"(22\.11\.2026 \d\d:\d\d):\d\d;", r"\1;", excel.decode())
    times = [value.time_ms for value in read(exact, ZoneInfo("Europe/Berlin")).values]
    assert len(times) == 3 and saved.encode() != excel
    for content in (excel, saved.encode(), saved.replace('="2026', "2026").replace('Z";', "Z;").encode()):
        assert [value.time_ms for value in read(content, ZoneInfo("Europe/Berlin")).values] == times


async def test_the_table_for_excel_says_in_german_what_is_shown(core: Core) -> None:
    """A recorder that reads the table leaves out what was entered in error, in either language."""
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    await meter(body, MIDNIGHT, 112)
    await meter(body, MIDNIGHT + HOUR, 321, status="entered-in-error")
    table = (await browser.get("/me/data-excel.csv")).content
    rows = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline=""), delimiter=";"))
    assert {(row["Wert"], row["gezeigt"]) for row in rows} == {("112", "ja"), ("321", "nein")}
    for content in (table, (await browser.get("/me/data.csv")).content):
        assert [str(value.value) for value in read(content, ZoneInfo("Europe/Berlin")).values] == ["112"]


async def test_excel_makes_no_days_and_no_numbers_of_codes_and_serial_numbers(core: Core) -> None:
    """8480-6 would be June of 8480 and 0012 would be 12, also in what Excel saves and a recorder is given then."""
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    await body.pressure(MIDNIGHT + HOUR, 128, 82, device_no=await body.device("Arm", serial_number='0012"3'))
    answer = await browser.get("/me/data-excel.csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), delimiter=";"))
    assert {row["Code"] for row in rows} >= {'="8480-6"', '="8462-4"'}
    assert {row["Seriennummer"] for row in rows} == {'="0012""3"'}
    (value,) = read(answer.content, ZoneInfo("Europe/Berlin")).values
    assert value.source.serial == '0012"3' and {code for code, _ in value.parts} >= {"8480-6", "8462-4"}


@pytest.mark.parametrize("begun", ["=1+1", '"=1+1&"', '""+1', "-1", "@SUM(1)", "＝1"])
async def test_no_separator_makes_a_formula_of_a_part_of_a_name(core: Core, begun: str) -> None:
    """A German spreadsheet splits the table with commas at semicolons, an English one the other table at commas; both
    take a quotation mark for one at the beginning of a cell only."""
    patient, browser = await logged_in(core)
    name, serial = f"Meter;{begun},{begun}", f"7,{begun};{begun}"
    body = Body(core, patient.patient_id)
    await meter(body, MIDNIGHT, 112, device_no=await body.device(name, serial_number=serial))
    for table in ("data.csv", "data-excel.csv"):
        content = (await browser.get(f"/me/{table}")).content
        for separator in ",;":
            rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)
            cells = [cell.lstrip('"') for row in rows for cell in row if not re.fullmatch('="([^"]|"")*"', cell)]
            assert not [cell for cell in cells if cell.startswith(("=1", "+", "-", "@", "＝"))]
        (value,) = read(content, ZoneInfo("Europe/Berlin")).values
        assert (value.source.name, value.source.serial) == (name, serial)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
async def test_what_begins_like_a_formula_is_read_as_it_was(core: Core, sign: str) -> None:
    """Another recorder knows the device by its name and serial number."""
    patient, browser = await logged_in(core)
    body, (name, serial) = Body(core, patient.patient_id), (f"{sign}1 Meter", f"{sign}0012")
    await meter(body, MIDNIGHT, 112, device_no=await body.device(name, serial_number=serial))
    exact, excel = [(await browser.get(f"/me/{name}")).content for name in ("data.csv", "data-excel.csv")]
    (row,) = csv.DictReader(io.StringIO(exact.decode(), newline=""))
    assert (row["device"], row["serial"]) == (f"'{name}", f"'{serial}")
    (row,) = csv.DictReader(io.StringIO(excel.decode("utf-8-sig"), newline=""), delimiter=";")
    assert (row["Gerät"], row["Seriennummer"]) == (f'="{name}"', f'="{serial}"')
    for content in (exact, excel):
        (value,) = read(content, ZoneInfo("Europe/Berlin")).values
        assert (value.source.name, value.source.serial) == (name, serial)


async def test_the_sheet_says_who_when_and_from_where(core: Core) -> None:
    core.settings = replace(core.settings, operator_name="Muster AG")
    _, browser = await worn(core)
    page = (await browser.get("/me/data")).text
    sheet = page.partition('<dl class="sheet">')[2].partition("</dl>")[0]
    assert "22. November 2026, 11:00 Uhr" in sheet and "Muster AG" in sheet
