"""Blood glucose over HTTP: BG-002 to BG-015 (HDDT measurement-blood-glucose.md); the rest is in test_mivs.py."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ddr.fhir.instants import date_time
from tests.spec.world import BG, DAY, HOUR, Home, Reader, entries, paired
from tests.support.recorder import Recorder

UCUM = "http://unitsofmeasure.org"
# The LOINC codes of the ValueSet, by their names: mass per volume and moles per volume.
UNITS = {
    "2339-0": "mg/dL",
    "2345-7": "mg/dL",
    "41653-7": "mg/dL",
    "15074-8": "mmol/L",
    "14749-6": "mmol/L",
    "14743-9": "mmol/L",
}


@pytest.fixture(scope="module")
async def home(ddr: Recorder) -> Home:
    """A patient with a meter, and a second meter that a gateway registered with its calibration."""
    home = Home(ddr, await ddr.patient())
    await home.device("meter", type="337414009")
    await home.device("calibrated")
    await home.sensor("calibrated", "2339-0", "mg/dL", calibration={"state": "calibrated"})
    return home


@pytest.fixture(scope="module")
async def reader(home: Home) -> Reader:
    """A DiGA that reads the patient's blood glucose."""
    return await paired(home.ddr, home.patient, BG)


def an_hour_ago(home: Home) -> dict[str, Any]:
    """A valid measurement without its value."""
    return {"code": "2339-0", "device": "meter", "effective": home.ago(HOUR)}


@pytest.mark.requirement("BG-002", "BG-003", "BG-004", "BG-005", "BG-015")
@pytest.mark.parametrize("code", UNITS)
async def test_each_code_has_the_unit_of_its_name(home: Home, reader: Reader, code: str) -> None:
    at, unit = home.ago(2 * HOUR), UNITS[code]
    value = 75.5 if unit == "mg/dL" else 7.5
    key = await home.measure(f"code-{code}", code=code, unit=unit, value=value, device="meter", effective=at)
    observation = await reader.read(f"Observation/{key}")
    assert [(c["system"], c["code"]) for c in observation["code"]["coding"]] == [("http://loinc.org", code)]
    assert [name for name in observation if name.startswith("effective")] == ["effectiveDateTime"]
    assert observation["effectiveDateTime"] == at
    # The unit's text is German, its code is UCUM.
    german = {"mg/dL": "mg/dl", "mmol/L": "mmol/l"}[unit]
    assert observation["valueQuantity"] == {"value": value, "unit": german, "system": UCUM, "code": unit}
    assert key in await reader.ids(f"Observation?code=http://loinc.org|{code}")


@pytest.mark.requirement("BG-002", "BG-005")
async def test_a_foreign_code_and_a_unit_of_the_other_kind_are_refused(home: Home) -> None:
    assert await home.unfit(**an_hour_ago(home) | {"code": "718-7"}, value=7.5, unit="g/dL") == "code"
    for code, unit in UNITS.items():
        other = "mmol/L" if unit == "mg/dL" else "mg/dL"
        assert await home.unfit(**an_hour_ago(home) | {"code": code}, value=7.5, unit=other) == "unit"


@pytest.mark.requirement("BG-003", "BG-007")
async def test_time_and_device_are_mandatory(home: Home) -> None:
    fitting = {**an_hour_ago(home), "value": 120, "unit": "mg/dL"}
    for name in ("effective", "device"):
        assert await home.unfit(**{key: value for key, value in fitting.items() if key != name}) == name
    assert await home.unfit(**{**fitting, "effective": {"start": home.ago(HOUR)}}) == "effective"
    assert await home.unfit(**{**fitting, "effective": home.ago(HOUR)[:10]}) == "effective"


@pytest.mark.requirement("BG-007")
async def test_the_device_is_a_device_or_a_metric(home: Home, reader: Reader) -> None:
    at_ms = home.ddr.clock() - 4 * HOUR
    plain = await reader.read(f"Observation/{await home.glucose('plain', at_ms)}")
    metric = await reader.read(f"Observation/{await home.glucose('metric', at_ms, device='calibrated', sensor='s')}")
    assert plain["device"] == {"reference": f"Device/{home.ids['meter']}"}
    assert metric["device"]["reference"].startswith("DeviceMetric/")
    assert (await reader.read(metric["device"]["reference"]))["source"][
        "reference"
    ] == f"Device/{home.ids['calibrated']}"


@pytest.mark.requirement("BG-008", "BG-009")
@pytest.mark.parametrize(("name", "limit", "comparator"), [("LO", 20, "<"), ("HI", 600, ">")])
async def test_lo_and_hi_are_values_with_comparator(
    home: Home, reader: Reader, name: str, limit: int, comparator: str
) -> None:
    found = await home.glucose(name, home.ddr.clock() - 5 * HOUR, limit, comparator=comparator)
    (observation,) = [each for each in await observations(reader) if each["id"] == found]
    assert observation["valueQuantity"] == {
        "value": limit,
        "comparator": comparator,
        "unit": "mg/dl",
        "system": UCUM,
        "code": "mg/dL",
    }
    assert "dataAbsentReason" not in observation
    given = {**an_hour_ago(home), "value": limit, "unit": "mg/dL"}
    for other in ("<=", ">=", "ad", "=", name):
        assert await home.unfit(**given, comparator=other) == "comparator"
    # a value above 600 starts after 600 and does not end before it; the reverse holds below 20
    before, after = (f"Observation?value-quantity={prefix}{limit}||mg/dL" for prefix in ("eb", "sa"))
    assert (found in await reader.ids(before), found in await reader.ids(after)) == (name == "LO", name == "HI")


@pytest.mark.requirement("BG-006", "BG-010")
async def test_a_failed_measurement_has_a_reason_and_no_value(home: Home, reader: Reader) -> None:
    found = await home.measure("failed", **an_hour_ago(home), dataAbsentReason="error")
    (observation,) = [each for each in await observations(reader) if each["id"] == found]
    assert not [name for name in observation if name.startswith("value")]
    assert [c["code"] for c in observation["dataAbsentReason"]["coding"]] == ["error"]
    assert found not in await reader.ids("Observation?value-quantity=ge0")


@pytest.mark.requirement("BG-010")
async def test_a_value_that_was_none_is_gone_when_it_is_corrected(home: Home, reader: Reader) -> None:
    await home.measure("withdrawn", **an_hour_ago(home), value=99, unit="mg/dL")
    found = await home.measure("withdrawn", **an_hour_ago(home), dataAbsentReason="error")
    for form in ("_format=json", "_pretty=true", "_format=xml"):
        text = (await reader.get(f"Observation/{found}?{form}")).text
        assert "dataAbsentReason" in text and not re.search(r"\bvalue[A-Z]", text)


@pytest.mark.requirement("BG-004", "BG-006", "BG-010")
async def test_no_value_without_reason_and_none_beside_one(home: Home) -> None:
    assert await home.unfit(**an_hour_ago(home)) == "value"
    assert await home.unfit(**an_hour_ago(home), value=0, unit="mg/dL", dataAbsentReason="error") == "dataAbsentReason"
    assert await home.unfit(**an_hour_ago(home), value=120) == "unit"


@pytest.mark.requirement("BG-011")
async def test_search_by_value(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    for number, value in enumerate((80, 100, 143)):
        await home.glucose(f"v{value}", ddr.clock() - number * HOUR, value)
    await home.glucose("mmol", ddr.clock() - 5 * HOUR, 9, code="15074-8", unit="mmol/L")
    reader = await paired(ddr, home.patient, BG)

    async def matching(value: str) -> set[str]:
        keys = {logical_id: key for key, logical_id in home.ids.items()}
        return {keys[found] for found in await reader.ids(f"Observation?value-quantity={value}")}

    assert await matching(f"gt100|{UCUM}|mg/dL") == {"v143"}
    assert await matching(f"ge100|{UCUM}|mg/dL") == {"v100", "v143"}
    assert await matching(f"lt100|{UCUM}|mg/dL") == {"v80"}
    assert await matching(f"100|{UCUM}|mg/dL") == {"v100"}
    assert await matching(f"gt5|{UCUM}|mmol/L") == {"mmol"}
    assert await matching("gt8") == {"v80", "v100", "v143", "mmol"}


@pytest.mark.requirement("BG-014")
async def test_status_follows_the_gateway(ddr: Recorder, home: Home, reader: Reader) -> None:
    at_ms = ddr.clock() - DAY
    sent = [
        ({"status": "preliminary"}, 150, "preliminary"),
        ({}, 150, "final"),
        ({}, 151, "corrected"),
        ({"note": "After a meal"}, 151, "amended"),
        ({"status": "entered-in-error", "note": "After a meal"}, 151, "entered-in-error"),
    ]
    for members, value, status in sent:
        found = await home.glucose("status", at_ms, value, **members)
        assert (await reader.read(f"Observation/{found}"))["status"] == status


@pytest.mark.requirement("BG-003")
async def test_the_offset_of_the_time_is_kept(home: Home, reader: Reader) -> None:
    for key, end in (("local", "+01:00"), ("exact", ".250+01:00")):
        local = date_time(home.ddr.clock() - HOUR).replace("Z", end)
        found = await home.measure(key, **{**an_hour_ago(home), "effective": local}, value=101, unit="mg/dL")
        shown = await reader.read(f"Observation/{found}")
        assert {name: text for name, text in shown.items() if name.startswith("effective")} == {
            "effectiveDateTime": local
        }


async def observations(reader: Reader) -> list[dict[str, Any]]:
    """All matches of an Observation search."""
    return [resource for bundle in await reader.pages("Observation") for resource in entries(bundle)]
