"""Blood pressure over HTTP: BP-002 to BP-025 (HDDT measurement-blood-pressure.md); the rest is in test_mivs.py."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.demo.diga_client import DigaRefused
from tests.gateway.phd import METER, bundle, coded, device, pressure, quantity
from tests.spec.world import BP, HOUR, Home, Reader, entries, paired
from tests.support.recorder import Recorder

LOINC, UCUM, MMHG = "http://loinc.org", "http://unitsofmeasure.org", "mm[Hg]"
SYSTOLIC, DIASTOLIC, MEAN = "8480-6", "8462-4", "8478-0"
DOOR = {SYSTOLIC: 121, DIASTOLIC: 81, MEAN: 94}
Json = dict[str, Any]


@pytest.fixture(scope="module")
async def home(ddr: Recorder) -> Home:
    """A patient with a cuff and four measurements: without mean, with mean, partly failed, and failed."""
    home = Home(ddr, await ddr.patient())
    await home.device("cuff", type="70665002")
    await home.pressure("two", ddr.clock() - HOUR)
    await panel(home, "three", value(SYSTOLIC, 120), value(DIASTOLIC, 80), value(MEAN, 93))
    await panel(home, "failed", value(SYSTOLIC, 131), {"code": DIASTOLIC, "dataAbsentReason": "error"})
    await panel(home, "nothing", *({"code": code, "dataAbsentReason": "error"} for code in (SYSTOLIC, DIASTOLIC)))
    return home


@pytest.fixture(scope="module")
async def reader(home: Home) -> Reader:
    """A DiGA that reads the patient's blood pressure."""
    return await paired(home.ddr, home.patient, BP)


def value(code: str, number: float, unit: str = MMHG) -> Json:
    """A component with value."""
    return {"code": code, "value": number, "unit": unit}


def measured(home: Home, *components: Json) -> Json:
    """A measurement of two hours ago."""
    return {"code": "85354-9", "device": "cuff", "effective": home.ago(2 * HOUR), "components": list(components)}


async def panel(home: Home, key: str, *components: Json, **members: Any) -> str:
    """Send a measurement; its logical id."""
    return await home.measure(key, **{**measured(home, *components), **members})


async def read(home: Home, reader: Reader, key: str) -> Json:
    """The Observation of a measurement."""
    return await reader.read(f"Observation/{home.ids[key]}")


def components(observation: Json) -> dict[str, Json]:
    """The components by their LOINC code; each has exactly one coding."""
    parts = observation["component"]
    assert all(len(part["code"]["coding"]) == 1 and part["code"]["coding"][0]["system"] == LOINC for part in parts)
    found = {part["code"]["coding"][0]["code"]: part for part in parts}
    assert len(found) == len(parts)
    return found


@pytest.mark.requirement("BP-002", "BP-003", "BP-009", "BP-023", "BP-025")
@pytest.mark.parametrize("key", ["two", "three", "failed", "nothing"])
async def test_code_and_category(home: Home, reader: Reader, key: str) -> None:
    observation = await read(home, reader, key)
    assert [(c["system"], c["code"]) for c in observation["code"]["coding"]] == [(LOINC, "85354-9")]
    (category,) = observation["category"]
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    assert [(c["system"], c["code"]) for c in category["coding"]] == [(system, "vital-signs")]


@pytest.mark.requirement("BP-002", "BP-003", "BP-023")
async def test_other_codes_are_refused_and_the_method_goes_elsewhere(home: Home, reader: Reader) -> None:
    values = (value(SYSTOLIC, 120), value(DIASTOLIC, 80))
    for other in ({"code": "55284-4"}, {"code": "75367002", "codeSystem": "http://snomed.info/sct"}):
        assert await home.unfit(**{**measured(home, *values), **other}) == "code"
    method = {"text": "Oszillometrisch"}
    await panel(home, "method", *values, method=method)
    assert (await read(home, reader, "method"))["method"] == method


@pytest.mark.requirement("BP-004", "BP-005", "BP-008", "BP-021", "BP-022")
async def test_the_components(home: Home, reader: Reader) -> None:
    two, three = [components(await read(home, reader, key)) for key in ("two", "three")]
    assert list(two) == [SYSTOLIC, DIASTOLIC]
    assert list(three) == [SYSTOLIC, DIASTOLIC, MEAN]
    assert [part["valueQuantity"]["value"] for part in two.values()] == [124, 82]
    assert [part["valueQuantity"]["value"] for part in three.values()] == [120, 80, 93]


@pytest.mark.requirement("BP-005")
async def test_a_mean_comes_through_the_fhir_door_and_no_second_one(home: Home, reader: Reader) -> None:
    parts = [{"code": coded(code), "valueQuantity": quantity(number, MMHG)} for code, number in DOOR.items()]
    for sent, status in ((parts, "201"), ([*parts, parts[-1]], "422")):
        sample = pressure(component=sent, effectiveDateTime=home.ago(3 * HOUR))
        answer = (await home.patient.gateway.post("fhir", json=bundle((METER, device()), sample))).json()
        assert answer["entry"][1]["response"]["status"].startswith(status), answer
    found = entries(await reader.search(f"Observation?date={home.ago(3 * HOUR)}"))
    assert [part["valueQuantity"]["value"] for one in found for part in components(one).values()] == [121, 81, 94]


@pytest.mark.requirement("BP-004", "BP-005", "BP-006", "BP-007", "BP-022")
async def test_other_components_are_refused(home: Home) -> None:
    systolic, diastolic = value(SYSTOLIC, 120), value(DIASTOLIC, 80)
    wrong: dict[str, list[tuple[Json, ...]]] = {
        "components": [(), (systolic,), (diastolic, value(MEAN, 93))],
        "components[2].code": [(systolic, diastolic, systolic), (systolic, diastolic, value("8867-4", 60))],
        "components[0].unit": [(value(SYSTOLIC, 12, "kPa"), diastolic), ({"code": SYSTOLIC, "value": 120}, diastolic)],
        "components[0].value": [({"code": SYSTOLIC}, diastolic)],
        "components[0].dataAbsentReason": [({**systolic, "dataAbsentReason": "error"}, diastolic)],
    }
    for field, cases in wrong.items():
        for case in cases:
            assert await home.unfit(**measured(home, *case)) == field


@pytest.mark.requirement("BP-006")
async def test_the_quantities(home: Home, reader: Reader) -> None:
    for part in components(await read(home, reader, "three")).values():
        quantity = part["valueQuantity"]
        assert quantity == {"value": quantity["value"], "unit": MMHG, "system": UCUM, "code": MMHG}


@pytest.mark.requirement("BP-007")
async def test_a_component_that_failed_has_a_reason_instead(home: Home, reader: Reader) -> None:
    parts = components(await read(home, reader, "failed"))
    assert parts[SYSTOLIC]["valueQuantity"]["value"] == 131
    assert [c["code"] for c in parts[DIASTOLIC]["dataAbsentReason"]["coding"]] == ["error"]
    assert "valueQuantity" not in parts[DIASTOLIC]
    assert "dataAbsentReason" not in parts[SYSTOLIC]


@pytest.mark.requirement("BP-010")
async def test_the_time(home: Home, reader: Reader) -> None:
    observation = await read(home, reader, "three")
    assert [name for name in observation if name.startswith("effective")] == ["effectiveDateTime"]
    assert observation["effectiveDateTime"] == home.ago(2 * HOUR)
    values = measured(home, value(SYSTOLIC, 120), value(DIASTOLIC, 80))
    assert await home.unfit(**{name: part for name, part in values.items() if name != "effective"}) == "effective"
    assert await home.unfit(**{**values, "effective": "2026-11"}) == "effective"


@pytest.mark.requirement("BP-011", "BP-012")
async def test_the_device(home: Home, reader: Reader) -> None:
    assert (await read(home, reader, "two"))["device"] == {"reference": f"Device/{home.ids['cuff']}"}
    values = (value(SYSTOLIC, 120), value(DIASTOLIC, 80))
    without = {name: part for name, part in measured(home, *values).items() if name != "device"}
    assert await home.unfit(**without) == "device"
    await home.device("calibrated")
    metric = await home.sensor("calibrated", "85354-9", MMHG, calibration={"state": "calibrated"})
    await panel(home, "metric", *values, device="calibrated", sensor="s")
    assert (await read(home, reader, "metric"))["device"] == {"reference": f"DeviceMetric/{metric}"}
    await home.device("uncalibrated")
    await home.sensor("uncalibrated", "85354-9", MMHG)
    await panel(home, "no-metric", *values, device="uncalibrated", sensor="s")
    assert (await read(home, reader, "no-metric"))["device"] == {"reference": f"Device/{home.ids['uncalibrated']}"}


@pytest.mark.requirement("BP-013", "BP-020")
async def test_the_subject_is_the_pairing_and_leads_nowhere(home: Home, reader: Reader) -> None:
    other = await paired(home.ddr, home.patient, BP)
    for each in (reader, other):
        subject = (await read(home, each, "two"))["subject"]
        assert subject == {"type": "Patient", "identifier": {"value": each.tokens.pairing_id}}
        assert home.patient.username not in str(subject)
        assert str(home.patient.patient_id) not in str(subject)
    assert reader.tokens.pairing_id != other.tokens.pairing_id
    assert (await reader.get(f"Patient/{reader.tokens.pairing_id}")).status_code == 404


@pytest.fixture(scope="module")
async def searched(ddr: Recorder) -> tuple[Home, Reader]:
    """Systolic, diastolic and mean: one with a mean above both, 140 over 90 without, and a usual one."""
    home = Home(ddr, await ddr.patient())
    await home.device("cuff")
    await panel(home, "mixed", value(SYSTOLIC, 120), value(DIASTOLIC, 80), value(MEAN, 135))
    await home.pressure("high", ddr.clock() - 2 * HOUR, 140, 90)
    await panel(home, "mean", value(SYSTOLIC, 118), value(DIASTOLIC, 76), value(MEAN, 90))
    return home, await paired(ddr, home.patient, BP)


async def matching(searched: tuple[Home, Reader], query: str) -> set[str]:
    """The keys of the measurements that a search finds."""
    home, reader = searched
    keys = {logical_id: key for key, logical_id in home.ids.items()}
    return {keys[found] for found in await reader.ids(f"Observation?{query}")}


@pytest.mark.requirement("BP-014")
async def test_search_by_component_code(searched: tuple[Home, Reader]) -> None:
    assert await matching(searched, f"component-code={SYSTOLIC}") == {"mixed", "high", "mean"}
    assert await matching(searched, f"component-code={LOINC}|{MEAN}") == {"mixed", "mean"}
    assert await matching(searched, "component-code=8867-4") == set()


@pytest.mark.requirement("BP-015")
async def test_search_by_component_value(searched: tuple[Home, Reader]) -> None:
    assert await matching(searched, "component-value-quantity=gt130") == {"mixed", "high"}
    assert await matching(searched, f"component-value-quantity=gt130|{UCUM}|mm[Hg]") == {"mixed", "high"}
    assert await matching(searched, f"component-value-quantity=lt80|{UCUM}|mm[Hg]") == {"mean"}
    assert await matching(searched, f"component-value-quantity=gt1|{UCUM}|kPa") == set()


@pytest.mark.requirement("BP-016", "BP-017")
async def test_the_composite_ties_code_and_value_to_one_component(searched: tuple[Home, Reader]) -> None:
    independent = f"component-code={LOINC}|{SYSTOLIC}&component-value-quantity=gt130"
    assert await matching(searched, independent) == {"mixed", "high"}
    assert await matching(searched, f"component-code-value-quantity={LOINC}|{SYSTOLIC}$gt130") == {"high"}
    assert await matching(searched, f"component-code-value-quantity={LOINC}|{MEAN}$gt130") == {"mixed"}
    in_units = f"component-code-value-quantity={LOINC}|{SYSTOLIC}$gt"
    assert await matching(searched, f"{in_units}13|{UCUM}|cm[Hg]") == {"high"}
    assert await matching(searched, f"{in_units}13|{UCUM}|kPa") == set()


@pytest.mark.requirement("BP-017")
async def test_a_diastolic_value_above_the_systolic_one_is_kept_and_told_apart(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("cuff")
    await panel(home, "crossed", value(SYSTOLIC, 120), value(DIASTOLIC, 135))
    searched = home, await paired(ddr, home.patient, BP)
    assert await matching(searched, f"component-code={SYSTOLIC}&component-value-quantity=gt130") == {"crossed"}
    assert await matching(searched, f"component-code-value-quantity={LOINC}|{SYSTOLIC}$gt130") == set()
    assert await matching(searched, f"component-code-value-quantity={LOINC}|{DIASTOLIC}$gt130") == {"crossed"}


@pytest.mark.requirement("BP-024")
async def test_the_name_of_the_valueset(ddr: Recorder) -> None:
    diga = await ddr.diga(BP)
    base = "patient/Observation.rs?code:in=https://gematik.de/fhir/hddt/ValueSet/hddt-miv-blood-pressure-"
    devices = ("patient/Device.rs", "patient/DeviceMetric.rs")
    await diga.client.push_request((f"{base}value", *devices))
    with pytest.raises(DigaRefused) as refusal:
        await diga.client.push_request((f"{base}measurement", *devices))
    assert (refusal.value.status, refusal.value.response.json()["error"]) == (400, "invalid_scope")
