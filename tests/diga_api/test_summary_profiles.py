"""The rules of the HL7 CGM 1.0.0 profiles and of hddt-cgm-summary, one by one, on what the operation sends.

HAPI's validator judges the same with tests/support/cgm_profiles.py, where it is installed.
"""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import pytest

from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, Backend, Body
from tests.fhir.validity import assert_valid

Json = dict[str, Any]

HL7 = "http://hl7.org/fhir/uv/cgm/StructureDefinition/cgm-summary"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
DATE = re.compile(r"\d{4}-\d\d-\d\d")

# profile of a member → its LOINC code, unit text and UCUM code; None where the profile has no value
MEMBERS = {
    "-mean-glucose-mass-per-volume": ("97507-8", ("mg/dl", "mg/dL")),
    "-mean-glucose-moles-per-volume": ("105273-7", ("mmol/l", "mmol/L")),
    "-times-in-ranges": ("106793-3", None),
    "-gmi": ("97506-0", ("%", "%")),
    "-coefficient-of-variation": ("104638-2", ("%", "%")),
    "-days-of-wear": ("104636-6", ("days", "d")),
    "-sensor-active-percentage": ("104637-4", ("%", "%")),
}
RANGES = ["104642-4", "104641-6", "97510-2", "104640-8", "104639-0"]


@pytest.fixture
async def diga(body: Body, pair: Pair) -> Backend:
    """A DiGA of a patient with three days of readings."""
    await body.cgm()
    return await pair(CGM)


@pytest.fixture
async def report(diga: Backend) -> Json:
    """A report with the patient's device."""
    response = await diga.get("Observation/$hddt-cgm-summary?related=true")
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def observations(report: Json) -> dict[str, Json]:
    """Observations by the end of their profile."""
    found = [entry["resource"] for entry in report["entry"]]
    return {
        resource["meta"]["profile"][0].removeprefix(HL7): resource
        for resource in found
        if resource["resourceType"] == "Observation"
    }


def code_of(node: Json) -> str:
    ((system, code),) = [(coding["system"], coding["code"]) for coding in node["code"]["coding"]]
    assert system == LOINC
    return str(code)


def quantity(node: Json) -> tuple[str, str]:
    value = node["valueQuantity"]
    assert value["system"] == UCUM
    assert isinstance(value["value"], int | float)
    return value["unit"], value["code"]


def test_the_bundle_is_a_collection_of_nine_resources(report: Json) -> None:
    assert report["type"] == "collection"
    assert report["meta"]["profile"] == ["https://gematik.de/fhir/hddt/StructureDefinition/hddt-cgm-summary"]
    assert not {"total", "link"} & report.keys()
    assert all(entry.keys() == {"fullUrl", "resource"} for entry in report["entry"])
    urls = [entry["fullUrl"] for entry in report["entry"]]
    assert len(set(urls)) == len(urls) == 9
    assert_valid(report)


def test_only_the_allowed_profiles(report: Json) -> None:
    profiles = [entry["resource"]["meta"]["profile"] for entry in report["entry"]]
    assert profiles[:8] == [[HL7 + name] for name in ("", *MEMBERS)]
    assert profiles[8:] == [["https://gematik.de/fhir/hddt/StructureDefinition/hddt-personal-health-device"]]


def test_what_every_observation_has(report: Json, diga: Backend) -> None:
    for resource in observations(report).values():
        assert resource["status"] == "final"
        assert resource["subject"] == {"type": "Patient", "identifier": {"value": diga.pairing_id}}
        period = resource["effectivePeriod"]
        assert period.keys() == {"start", "end"}
        assert all(DATE.fullmatch(text) for text in period.values())
        assert period["start"] <= period["end"]
        assert [coding["code"] for coding in resource["category"][0]["coding"]] == ["laboratory"]
        assert not {"id", "device", "performer", "issued"} & resource.keys()


def test_the_panel_has_every_member_once_and_no_value(report: Json) -> None:
    panel = observations(report)[""]
    assert code_of(panel) == "107931-8"
    assert not [name for name in panel if name.startswith(("value", "component", "dataAbsentReason"))]
    # hasMember 6..*; every slice once, told apart by the code of what the reference resolves to
    resolved = {entry["fullUrl"]: entry["resource"] for entry in report["entry"]}
    members = [resolved[member["reference"]] for member in panel["hasMember"]]
    assert [code_of(member) for member in members] == [code for code, _ in MEMBERS.values()]
    assert all(UUID(member["reference"].removeprefix("urn:uuid:")) for member in panel["hasMember"])


@pytest.mark.parametrize("profile", MEMBERS)
def test_each_member_has_its_code_and_unit(report: Json, profile: str) -> None:
    resource = observations(report)[profile]
    code, units = MEMBERS[profile]
    assert code_of(resource) == code
    assert "hasMember" not in resource
    if units is None:
        assert "valueQuantity" not in resource
    else:
        assert quantity(resource) == units
        assert "component" not in resource


def test_times_in_ranges(report: Json) -> None:
    components = observations(report)["-times-in-ranges"]["component"]
    assert [code_of(component) for component in components] == RANGES
    assert [quantity(component) for component in components] == [("%", "%")] * 5


async def test_shares_have_two_decimals(diga: Backend) -> None:
    response = await diga.get("Observation/$hddt-cgm-summary")
    report = json.loads(response.content, parse_float=str)  # "56.20" is not 56.2
    components = observations(report)["-times-in-ranges"]["component"]
    shares = [component["valueQuantity"]["value"] for component in components]
    assert [re.fullmatch(r"[0-9]{1,3}\.[0-9]{2}", share) is not None for share in shares] == [True] * 5
