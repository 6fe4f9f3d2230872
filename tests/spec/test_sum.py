"""$hddt-cgm-summary over HTTP: what can be requested, and what is counted; the report itself is in test_sum_report.py.

HDDT measurement-cgm.md; docs/cgm-summary.md has the decisions.
"""

from __future__ import annotations

from datetime import datetime
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from ddr.demo.chunks import samples_of
from ddr.fhir.instants import date_time
from tests.spec.series import chunks
from tests.spec.summary import (
    BERLIN,
    DEFINITION,
    PERIOD,
    SUMMARY,
    WORN,
    by_code,
    comparable,
    glucose,
    numeric,
    period,
    report,
    resources,
    shares,
    today,
    value,
    worn_for_a_month,
)
from tests.spec.world import BG, CGM, DAY, Home, Reader, entries, paired
from tests.support.recorder import Recorder


@pytest.fixture(scope="module")
async def home(ddr: Recorder) -> Home:
    """A patient with 33 days of readings."""
    return await worn_for_a_month(ddr)


@pytest.fixture(scope="module")
async def reader(home: Home) -> Reader:
    """A DiGA that reads the patient's glucose of both kinds."""
    return await paired(home.ddr, home.patient, CGM, BG)


# --- the operation and its parameters --------------------------------------------------------------------------------


@pytest.mark.requirement("SUM-001", "SUM-026")
async def test_at_type_level_only(reader: Reader) -> None:
    statement = (await reader.get("metadata")).json()["rest"][0]
    operations = {one["type"]: one["operation"] for one in statement["resource"] if "operation" in one}
    assert [(one["name"], one["definition"]) for one in operations.pop("Observation")] == [
        ("hddt-cgm-summary", DEFINITION)
    ]
    assert not operations
    assert "operation" not in statement
    assert (await reader.post(SUMMARY)).status_code == 200
    (chunk, *_) = await chunks(reader, "code=99504-3")
    for path in ("$hddt-cgm-summary", f"Observation/{chunk['id']}/$hddt-cgm-summary", "Observation$hddt-cgm-summary"):
        assert (await reader.post(path)).status_code == 404


@pytest.mark.requirement("SUM-018")
async def test_no_metric_is_served_by_itself(reader: Reader) -> None:
    """Neither by a parameter of the operation nor by the names that the report gives its parts."""
    report = (await reader.post(SUMMARY)).json()
    assert len(report["entry"]) > 5
    for entry in report["entry"]:
        one = entry["resource"]
        code = one["code"]["coding"][0]["code"]
        for parameter in (f"code={code}", f"_elements={code}", f"_id={one.get('id', code)}"):
            assert (await reader.get(f"{SUMMARY}?{parameter}")).status_code == 400
        for path in {one.get("id", code), entry["fullUrl"].rpartition("/")[2].removeprefix("urn:uuid:"), code}:
            assert (await reader.get(f"Observation/{path}")).status_code == 404
            assert await reader.ids(f"Observation?_id={path}") == []
        assert await reader.ids(f"Observation?code={code}") == []


@pytest.mark.requirement("SUM-002")
@pytest.mark.parametrize("given", list(product([False, True], repeat=3)))
async def test_every_combination_of_parameters(ddr: Recorder, reader: Reader, given: tuple[bool, bool, bool]) -> None:
    start, end = ddr.clock() - 20 * DAY, ddr.clock() - 2 * DAY
    offered: list[tuple[str, Any]] = [
        ("effectivePeriodStart", date_time(start)),
        ("effectivePeriodEnd", date_time(end)),
        ("related", True),
    ]
    bundle = await report(reader, **dict(one for one, wanted in zip(offered, given, strict=True) if wanted))
    first, last = period(bundle)
    assert (first == today(ddr, 20)) == given[0]
    assert (last == today(ddr, 2)) == given[1]
    assert bool(resources(bundle, "Device")) == given[2]


@pytest.mark.requirement("SUM-003", "SUM-004")
async def test_defaults_reach_from_at_least_seven_days_ago_until_today(ddr: Recorder, reader: Reader) -> None:
    for inputs in ({}, {"effectivePeriodEnd": date_time(ddr.clock())}):
        first, last = period(await report(reader, **inputs))
        assert first <= today(ddr, 7)
        assert last == today(ddr)
    first, last = period(await report(reader, effectivePeriodEnd=str(today(ddr, 3))))
    assert (first <= today(ddr, 10), last) == (True, today(ddr, 3))
    for days in (9, 25):  # however early it begins
        begun = str(today(ddr, days))
        assert period(await report(reader, effectivePeriodStart=begun)) == (today(ddr, days), today(ddr))


@pytest.mark.requirement("SUM-003")
async def test_a_request_without_a_body(ddr: Recorder, reader: Reader) -> None:
    response = await reader.post(SUMMARY)
    assert response.status_code == 200
    assert period(response.json()) == (today(ddr, 13), today(ddr))


@pytest.mark.requirement("SUM-005", "SUM-006")
@pytest.mark.parametrize(("days", "readings"), [(7, 2016), (3, 864), (1, 288)])
async def test_seven_days_are_served_and_less_is_too(ddr: Recorder, reader: Reader, days: int, readings: int) -> None:
    end = ddr.clock() - 10 * DAY
    inputs = {"effectivePeriodStart": date_time(end - days * DAY), "effectivePeriodEnd": date_time(end - 1000)}
    bundle = await report(reader, **inputs)
    assert period(bundle) == (today(ddr, 10 + days), today(ddr, 10))
    assert value(bundle, "104637-4") == 100
    first_slot = (WORN - 10 * DAY - days * DAY) // PERIOD
    expected = [numeric(glucose(slot)) for slot in range(first_slot, first_slot + readings)]
    assert value(bundle, "97507-8") == pytest.approx(fmean(expected), abs=0.005001)


@pytest.mark.requirement("SUM-005")
async def test_a_week_in_utc_is_reported_as_its_seven_days(ddr: Recorder, reader: Reader) -> None:
    first, last = today(ddr, 9), today(ddr, 3)
    inputs = {"effectivePeriodStart": f"{first}T00:00:00Z", "effectivePeriodEnd": f"{last}T23:59:59Z"}
    bundle = await report(reader, **inputs)
    assert period(bundle) == (first, last)
    assert value(bundle, "104636-6") == 7


@pytest.mark.requirement("SUM-007")
async def test_partial_data_is_served_and_told(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    started = ddr.clock() - 10 * DAY
    await home.device("cgm", startedAt=date_time(started))
    await home.cgm("cgm", started)
    await home.readings("cgm", started, [120] * (4 * 288))
    bundle = await report(
        await paired(ddr, home.patient, CGM),
        effectivePeriodStart=date_time(ddr.clock() - 14 * DAY),
        effectivePeriodEnd=date_time(ddr.clock() - 1000),
    )
    assert value(bundle, "104636-6") == 5  # from one noon to another
    assert value(bundle, "104637-4") == round(100 * 4 / 14, 2)
    assert value(bundle, "97507-8") == 120


@pytest.mark.requirement("SUM-020", "CGM-012")
async def test_the_last_thirty_days(ddr: Recorder, reader: Reader) -> None:
    bundle = await report(reader, effectivePeriodStart=date_time(ddr.clock() - 30 * DAY))
    assert period(bundle) == (today(ddr, 30), today(ddr))
    assert value(bundle, "104636-6") == 31
    assert value(bundle, "104637-4") == 100


@pytest.mark.requirement("SUM-028")
async def test_dates_and_instants(ddr: Recorder, reader: Reader) -> None:
    day = today(ddr, 9)
    midnight = datetime(day.year, day.month, day.day, tzinfo=BERLIN)
    same = [str(day), midnight.isoformat(), midnight.isoformat(timespec="milliseconds")]
    reports = [await report(reader, effectivePeriodStart=text, effectivePeriodEnd=str(today(ddr, 2))) for text in same]
    assert period(reports[0]) == (day, today(ddr, 2))
    assert [comparable(one) for one in reports] == [comparable(reports[0])] * 3
    assert period(await report(reader, effectivePeriodStart=str(day)[:7]))[0] == day.replace(day=1)
    assert (await report(reader, effectivePeriodStart=str(day)[:4]))["type"] == "collection"


@pytest.mark.requirement("SUM-029")
async def test_xml_and_get(ddr: Recorder, reader: Reader) -> None:
    start = str(today(ddr, 9))
    body = f"""<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="effectivePeriodStart"/>
        <valueDateTime value="{start}"/></parameter><parameter><name value="related"/><valueBoolean value="true"/>
        </parameter></Parameters>"""
    fields = {"content-type": "application/fhir+xml", "accept": "application/fhir+xml"}
    in_xml = await reader.post(SUMMARY, content=body, headers=fields)
    assert in_xml.status_code == 200
    assert in_xml.headers["content-type"].startswith("application/fhir+xml")
    expected = await report(reader, effectivePeriodStart=start, related=True)
    assert in_xml.text.count("<entry>") == len(expected["entry"])
    mean = by_code(expected)["97507-8"]["valueQuantity"]["value"]
    assert f'<value value="{mean:.2f}"/><unit value="mg/dl"/>' in in_xml.text
    got = await reader.get(f"{SUMMARY}?effectivePeriodStart={start}&related=true")
    assert comparable(got.json()) == comparable(expected)


# --- what is counted -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("SUM-019")
async def test_recalculated_from_the_raw_chunks(ddr: Recorder, reader: Reader) -> None:
    start, end = ddr.clock() - 12 * DAY, ddr.clock() - 2 * DAY
    bundle = await report(reader, effectivePeriodStart=date_time(start), effectivePeriodEnd=date_time(end - 1000))
    raw = entries(
        await reader.search(f"Observation?code=99504-3&date=ge{date_time(start)}&date=lt{date_time(end)}&_count=100")
    )
    found = [numeric(one) for at_ms, one in samples_of(raw) if start <= at_ms < end]
    assert len(found) == 10 * 288
    mean = fmean(found)
    limits = ((0, 53), (54, 69), (70, 180), (181, 250), (251, 999))
    counts = [sum(low <= one <= high for one in found) for low, high in limits]
    assert value(bundle, "97507-8") == pytest.approx(mean, abs=0.005001)
    assert value(bundle, "105273-7") == pytest.approx(mean / 18.0156, abs=0.005001)
    assert value(bundle, "97506-0") == pytest.approx(3.31 + 0.02392 * mean, abs=0.005001)
    assert value(bundle, "104638-2") == pytest.approx(100 * stdev(found) / mean, abs=0.005001)
    assert list(shares(bundle).values()) == pytest.approx([100 * one / len(found) for one in counts], abs=0.005001)
    assert value(bundle, "104636-6") == 11
    assert value(bundle, "104637-4") == 100


@pytest.mark.requirement("SUM-021")
async def test_warm_up_does_not_count_as_documented(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    begun = ddr.clock() - 3 * DAY
    for days, (key, state, measured) in enumerate((("warm", "not-calibrated", 300), ("ready", "calibrated", 100))):
        started = begun + days * DAY  # where sensors overlap, only the newer one counts anyway
        await home.device(key, startedAt=date_time(started))
        await home.cgm(key, started, state)
        await home.readings(key, started, [measured] * 288)
    bundle = await report(await paired(ddr, home.patient, CGM), related=True)
    assert value(bundle, "97507-8") == 100
    assert [one["id"] for one in resources(bundle, "Device")] == [home.ids["ready"]]
    assert "Warm-up does not count" in (Path(__file__).parents[2] / "docs" / "cgm-summary.md").read_text()
