"""$hddt-cgm-summary over HTTP: the report and the refusals; what can be requested is in test_sum.py."""

from __future__ import annotations

import re

import pytest

from ddr.fhir.instants import date_time, parse_instant
from tests.fhir.validity import assert_valid
from tests.spec.series import worn
from tests.spec.summary import (
    HDDT,
    HL7,
    PANEL,
    PROFILES,
    RANGE_CODES,
    RANGES,
    SUMMARY,
    asked,
    by_code,
    outcome,
    report,
    resources,
    shares,
    text,
    worn_for_a_month,
)
from tests.spec.world import BG, CGM, DAY, HOUR, Home, Json, Reader, later, paired
from tests.support.recorder import Recorder


@pytest.fixture(scope="module")
async def home(ddr: Recorder) -> Home:
    """A patient with 33 days of readings."""
    return await worn_for_a_month(ddr)


@pytest.fixture(scope="module")
async def reader(home: Home) -> Reader:
    """A DiGA that reads the patient's glucose of both kinds."""
    return await paired(home.ddr, home.patient, CGM, BG)


# --- the report ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("SUM-008", "SUM-009", "SUM-010", "SUM-012", "SUM-022", "SUM-023", "SUM-025")
async def test_the_report_is_a_bundle_of_eight_observations_and_devices(reader: Reader) -> None:
    bundle = await report(reader, related=True)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    assert bundle["meta"]["profile"] == [HDDT + "hddt-cgm-summary"]
    assert_valid(bundle)
    found = by_code(bundle)
    assert {code: one["meta"]["profile"] for code, one in found.items()} == {
        code: [HL7 + name] for code, name in PROFILES.items()
    }
    assert list(shares(bundle)) == RANGE_CODES
    assert {one["meta"]["profile"][0] for one in resources(bundle, "Device")} == {HDDT + "hddt-personal-health-device"}
    assert len(bundle["entry"]) == 8 + len(resources(bundle, "Device"))
    urls = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    members = [urls[member["reference"]] for member in found[PANEL]["hasMember"]]
    assert members == [one for code, one in found.items() if code != PANEL]
    assert all("valueQuantity" in one for code, one in found.items() if code not in (PANEL, RANGES))


@pytest.mark.requirement("SUM-010", "SUM-011", "SUM-023")
async def test_what_is_not_defined_is_sent_without_a_value(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("cgm", startedAt=home.ago(DAY))
    await home.cgm("cgm", ddr.clock() - DAY)
    await home.readings("cgm", ddr.clock() - DAY, [120])  # one reading has no variation
    response = await asked(await paired(ddr, home.patient, CGM))
    ddr.received.forget(response)  # HDDT prescribes what HL7's profile forbids
    bundle = response.json()
    found = by_code(bundle)
    variation = found.pop("104638-2")
    assert not [name for name in variation if name.startswith("value")]
    (reason,) = variation["dataAbsentReason"]["coding"]
    assert (reason["system"], reason["code"]) == (
        "http://terminology.hl7.org/CodeSystem/data-absent-reason",
        "unknown",
    )
    assert len(found) == 7
    assert not [one for one in found.values() if "dataAbsentReason" in one]
    assert_valid(bundle)


@pytest.mark.requirement("SUM-013", "SUM-024")
async def test_devices_of_the_contributing_sensors(ddr: Recorder, home: Home, reader: Reader) -> None:
    both = await report(reader, related=True)
    assert {one["id"] for one in resources(both, "Device")} == {home.ids["cgm"], home.ids["cgm-2"]}
    for entry in both["entry"]:
        if entry["resource"]["resourceType"] == "Device":
            assert entry["resource"] == await reader.read(entry["fullUrl"])
    earlier = await report(reader, related=True, effectivePeriodEnd=date_time(ddr.clock() - DAY))
    assert [one["id"] for one in resources(earlier, "Device")] == [home.ids["cgm"]]
    for inputs in ({}, {"related": False}):
        assert not resources(await report(reader, **inputs), "Device")
    assert not resources(both, "DeviceMetric")


@pytest.mark.requirement("SUM-016")
async def test_the_report_is_volatile(reader: Reader) -> None:
    bundle = await report(reader)
    assert not [one for one in resources(bundle, "Observation") if "id" in one]
    for entry in bundle["entry"]:
        assert entry["fullUrl"].startswith("urn:uuid:")
        read = await reader.get("Observation/" + entry["fullUrl"].removeprefix("urn:uuid:"))
        assert read.status_code == 404
    again = await report(reader)
    assert not {entry["fullUrl"] for entry in bundle["entry"]} & {entry["fullUrl"] for entry in again["entry"]}


@pytest.mark.requirement("SUM-030")
async def test_the_subject_is_the_pairing(reader: Reader) -> None:
    expected = {"type": "Patient", "identifier": {"value": reader.tokens.pairing_id}}
    assert [one["subject"] for one in resources(await report(reader), "Observation")] == [expected] * 8


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("SUM-014", "SUM-015", "SUM-027")
async def test_nothing_to_report(ddr: Recorder, reader: Reader) -> None:
    expected = (404, "error", "not-found", "MSG_NO_MATCH")
    stranger = await paired(ddr, await ddr.patient(), CGM)
    assert outcome(await asked(stranger)) == expected
    assert outcome(await asked(reader, effectivePeriodStart="2020-01-01", effectivePeriodEnd="2020-02-01")) == expected
    assert outcome(await asked(reader, effectivePeriodStart="2040-01-01")) == expected
    failing = await worn(ddr)
    with later(ddr, HOUR):
        await failing.send(0, ["E", "E"])
        for one in (stranger, failing.reader):
            assert outcome(await asked(one, related=True)) == expected


@pytest.mark.requirement("SUM-015", "SUM-027")
@pytest.mark.parametrize(
    ("parameter", "code"),
    [
        ({"name": "foo", "valueString": "bar"}, "MSG_PARAM_UNKNOWN"),
        ({"name": "effectivePeriodStart", "valueDateTime": "01.08.2025"}, "MSG_PARAM_INVALID"),
        ({"name": "effectivePeriodEnd", "valueDateTime": "2025-13-01"}, "MSG_PARAM_INVALID"),
        ({"name": "related", "valueString": "true"}, "MSG_PARAM_INVALID"),
        ({"valueBoolean": True}, "MSG_BAD_SYNTAX"),
    ],
)
async def test_bad_parameters(reader: Reader, parameter: Json, code: str) -> None:
    response = await reader.post(SUMMARY, json={"resourceType": "Parameters", "parameter": [parameter]})
    assert outcome(response) == (400, "error", "invalid", code)


@pytest.mark.requirement("SUM-015")
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("foo=bar", "MSG_PARAM_UNKNOWN"),
        ("effectivePeriodStart=01.08.2025", "MSG_PARAM_INVALID"),
        ("effectivePeriodEnd=2025-13-01", "MSG_PARAM_INVALID"),
        ("related=perhaps", "MSG_PARAM_INVALID"),
    ],
)
async def test_bad_parameters_of_a_query(reader: Reader, query: str, code: str) -> None:
    assert outcome(await reader.get(f"{SUMMARY}?{query}")) == (400, "error", "invalid", code)


@pytest.mark.requirement("SUM-015", "SUM-027")
async def test_bad_bodies_and_periods(reader: Reader) -> None:
    malformed = (400, "error", "invalid", "MSG_BAD_SYNTAX")
    for kind, body in (("json", "{"), ("json", '{"resourceType": "Bundle"}'), ("xml", "<Parameters/>"), ("xml", "x")):
        response = await reader.post(SUMMARY, content=body, headers={"content-type": f"application/fhir+{kind}"})
        assert outcome(response) == malformed
    backwards = await asked(reader, effectivePeriodStart="2026-11-20", effectivePeriodEnd="2026-11-10")
    assert outcome(backwards) == (400, "error", "invalid", "MSG_PARAM_INVALID")


@pytest.mark.requirement("SUM-015")
async def test_texts_are_those_of_the_specification(ddr: Recorder, reader: Reader) -> None:
    assert text(await reader.get(SUMMARY + "?foo=1")) == "Unknown input parameter 'foo'."
    invalid = await asked(reader, effectivePeriodStart="x")
    assert text(invalid) == "Invalid date format in effectivePeriodStart."
    nothing = await asked(await paired(ddr, await ddr.patient(), CGM))
    assert text(nothing) == "No CGM summary observations found for the given effective period."
    broken = await reader.post(SUMMARY, content="{", headers={"content-type": "application/fhir+json"})
    assert text(broken) == "The request is malformed."


@pytest.mark.requirement("SUM-017")
async def test_only_with_the_scope_of_the_miv(ddr: Recorder, home: Home) -> None:
    reader = await paired(ddr, home.patient, BG)
    for response in (await reader.post(SUMMARY), await reader.get(SUMMARY)):
        assert response.status_code == 404
        assert response.json()["resourceType"] == "OperationOutcome"
    anonymous = await reader.diga.http.post(f"{reader.diga.client.fhir_base}/{SUMMARY}")
    assert anonymous.status_code == 401


@pytest.mark.requirement("SUM-008")
async def test_two_decimals_are_kept(reader: Reader) -> None:
    answer = await reader.get(SUMMARY)
    numbers = re.findall(r'"valueQuantity":\{"value":([0-9.]+),"unit":"%"', answer.text)
    assert len(numbers) == 8
    assert all(re.fullmatch(r"[0-9]+\.[0-9]{2}", number) for number in numbers)


@pytest.mark.requirement("SUM-004")
async def test_the_report_tells_when_it_was_made(ddr: Recorder, reader: Reader) -> None:
    assert parse_instant((await report(reader))["timestamp"]) == ddr.clock()
