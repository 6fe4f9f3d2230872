"""$hddt-cgm-summary over HTTP, SUM-001 to SUM-030 (HDDT measurement-cgm.md); docs/cgm-summary.md has the decisions."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from ddr.demo.chunks import samples_of
from ddr.fhir.instants import date_time, parse_instant
from tests.fhir.validity import assert_valid
from tests.spec.series import chunks
from tests.spec.world import BG, CGM, DAY, HOUR, MINUTE, Home, Json, Reader, entries, paired, warnings
from tests.support.recorder import Recorder

SUMMARY = "Observation/$hddt-cgm-summary"
DEFINITION = "https://gematik.de/fhir/hddt/OperationDefinition/hddt-cgm-summary-operation"
HL7 = "http://hl7.org/fhir/uv/cgm/StructureDefinition/cgm-summary"
HDDT = "https://gematik.de/fhir/hddt/StructureDefinition/"
BERLIN = ZoneInfo("Europe/Berlin")

PANEL, RANGES = "107931-8", "106793-3"
PROFILES = {
    PANEL: "",
    "97507-8": "-mean-glucose-mass-per-volume",
    "105273-7": "-mean-glucose-moles-per-volume",
    RANGES: "-times-in-ranges",
    "97506-0": "-gmi",
    "104638-2": "-coefficient-of-variation",
    "104636-6": "-days-of-wear",
    "104637-4": "-sensor-active-percentage",
}
RANGE_CODES = ["104642-4", "104641-6", "97510-2", "104640-8", "104639-0"]
WORN = 33 * DAY
PERIOD = 5 * MINUTE


def glucose(slot: int) -> float | str:
    """A course with every range in it, and values beyond the sensor's limits."""
    value = 35 + slot * 37 % 380
    return "L" if value < 40 else "U" if value > 400 else value


@pytest.fixture(scope="module")
async def home(ddr: Recorder) -> Home:
    """A patient with 33 days of readings, of one sensor and, in the last 20 hours, of a second one."""
    home = Home(ddr, await ddr.patient())
    now_ms = ddr.clock()
    await home.device("cgm", name="GlucoSense", type="700585005", startedAt=home.ago(WORN))
    await home.cgm("cgm", now_ms - WORN)
    await home.readings("cgm", now_ms - WORN, [glucose(slot) for slot in range(WORN // PERIOD - 240)])
    await home.device("cgm-2", name="GlucoSense", type="700585005", startedAt=home.ago(20 * HOUR))
    await home.cgm("cgm-2", now_ms - 20 * HOUR)
    await home.readings("cgm-2", now_ms - 20 * HOUR, [110 + slot % 7 for slot in range(240)])
    await home.device("meter", type="337414009")
    await home.glucose("bg", now_ms - HOUR, 555)
    return home


@pytest.fixture(scope="module")
async def reader(home: Home) -> Reader:
    """A DiGA that reads the patient's glucose of both kinds."""
    return await paired(home.ddr, home.patient, CGM, BG)


async def asked(reader: Reader, **inputs: Any) -> httpx.Response:
    """POST with these parameters."""
    kinds = {bool: "valueBoolean", str: "valueDateTime"}
    parameters = [{"name": name, kinds[type(value)]: value} for name, value in inputs.items()]
    body = {"resourceType": "Parameters", **({"parameter": parameters} if parameters else {})}
    return await reader.post(SUMMARY, json=body)


async def report(reader: Reader, **inputs: Any) -> Json:
    """The Bundle of a POST with these parameters."""
    response = await asked(reader, **inputs)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def resources(bundle: Json, kind: str) -> list[Json]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def by_code(bundle: Json) -> dict[str, Json]:
    return {one["code"]["coding"][0]["code"]: one for one in resources(bundle, "Observation")}


def value(bundle: Json, code: str) -> float:
    number: float = by_code(bundle)[code]["valueQuantity"]["value"]
    return number


def shares(bundle: Json) -> dict[str, float]:
    components = by_code(bundle)[RANGES]["component"]
    return {part["code"]["coding"][0]["code"]: part["valueQuantity"]["value"] for part in components}


def period(bundle: Json) -> tuple[date, date]:
    """The effectivePeriod, which all Observations share."""
    ((start, end),) = {tuple(one["effectivePeriod"].values()) for one in resources(bundle, "Observation")}
    return date.fromisoformat(start), date.fromisoformat(end)


def today(ddr: Recorder, ago: int = 0) -> date:
    """The date of today or so many days ago in Germany."""
    return datetime.fromtimestamp(ddr.clock() / 1000, BERLIN).date() - timedelta(ago)


def text(response: httpx.Response) -> str:
    """The text of a refusal."""
    found: str = response.json()["issue"][0]["details"]["text"]
    return found


def outcome(response: httpx.Response) -> tuple[int, str, str, str]:
    """Status, severity, code and details code of a refusal."""
    resource = response.json()
    assert resource["resourceType"] == "OperationOutcome"
    (issue,) = resource["issue"]
    coding = issue["details"]["coding"][0]
    assert coding["system"] == "http://terminology.hl7.org/CodeSystem/operation-outcome"
    return response.status_code, issue["severity"], issue["code"], coding["code"]


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
    assert period(await report(reader, effectivePeriodStart=str(today(ddr, 9)))) == (today(ddr, 9), today(ddr))


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


def numeric(measured: float | str) -> float:
    """The number that counts: one step beyond the limit for L and U."""
    return {"L": 39.0, "U": 401.0}[measured] if isinstance(measured, str) else measured


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


@pytest.mark.requirement("SUM-020")
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


def comparable(bundle: Json) -> Any:
    """The Observations without the passing identities of the Bundle."""
    return {code: {**one, "hasMember": None} for code, one in by_code(bundle).items()}


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


@pytest.mark.requirement("SUM-011", "SUM-023")
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
    started = ddr.clock() - 2 * DAY
    for key, state, measured in (("warm", "not-calibrated", 300), ("ready", "calibrated", 100)):
        await home.device(key, startedAt=date_time(started))
        await home.cgm(key, started, state)
        await home.readings(key, started, [measured] * 288)
    bundle = await report(await paired(ddr, home.patient, CGM), related=True)
    assert value(bundle, "97507-8") == 100
    assert [one["id"] for one in resources(bundle, "Device")] == [home.ids["ready"]]
    assert "Warm-up does not count" in (Path(__file__).parents[2] / "docs" / "cgm-summary.md").read_text()


@pytest.mark.requirement("SUM-018")
@pytest.mark.parametrize("code", [*PROFILES, *RANGE_CODES])
async def test_no_metric_by_itself(reader: Reader, code: str) -> None:
    bundle = await reader.search(f"Observation?code={code}")
    assert not entries(bundle)
    assert warnings(bundle)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("SUM-014", "SUM-015", "SUM-027")
async def test_nothing_to_report(ddr: Recorder, reader: Reader) -> None:
    expected = (404, "error", "not-found", "MSG_NO_MATCH")
    stranger = await paired(ddr, await ddr.patient(), CGM)
    assert outcome(await asked(stranger)) == expected
    assert outcome(await asked(reader, effectivePeriodStart="2020-01-01", effectivePeriodEnd="2020-02-01")) == expected
    assert outcome(await asked(reader, effectivePeriodStart="2040-01-01")) == expected


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
