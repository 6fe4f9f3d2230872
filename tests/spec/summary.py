"""Shared by the tests of $hddt-cgm-summary: a patient with a month of readings, and the content of a report."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from tests.spec.world import DAY, HOUR, MINUTE, Home, Json, Reader
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


def numeric(measured: float | str) -> float:
    """The number that a value counts as: one step beyond the limit for L and U."""
    return {"L": 39.0, "U": 401.0}[measured] if isinstance(measured, str) else measured


async def worn_for_a_month(ddr: Recorder) -> Home:
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
    """Today's date in Germany, or that of some days ago."""
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


def comparable(bundle: Json) -> Any:
    """The Observations without the ids that change with each Bundle."""
    return {code: {**one, "hasMember": None} for code, one in by_code(bundle).items()}
