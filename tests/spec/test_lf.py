"""Lung function over HTTP: LF-002 to LF-028 (HDDT measurement-lung-function.md); the rest is in test_mivs.py."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.conform.laws.codes import LUNG_METHOD_CODES
from ddr.fhir.instants import date_time
from ddr.gateway import measurement_rules
from tests.gateway.phd import METER, bundle, device, reference_value
from tests.spec.world import DAY, HOUR, LF, METHODS, Home, Reader, code_of, paired
from tests.support.recorder import Recorder

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
PROFILES = "https://gematik.de/fhir/hddt/StructureDefinition/"
READING, REFERENCE = "hddt-lung-function-testing", "hddt-lung-reference-value"
RELATIVE = "hddt-lung-function-testing-complete"
TEMPORARY = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-temporary-codes"
PEF_RELATIVE = "PEF-measured/predicted"
PERSONAL_BEST = {"coding": [{"system": METHODS, "code": "personal-best"}]}
# By key of the measurement: profile, system, code and unit.
EXPECTED = {
    "pef": (READING, LOINC, "19935-6", "L/min"),
    "fev1": (READING, LOINC, "20150-9", "L"),
    "best": (REFERENCE, LOINC, "83368-1", "L/min"),
    "reference": (REFERENCE, LOINC, "20149-1", "L"),
    "share": (RELATIVE, TEMPORARY, PEF_RELATIVE, "%"),
    "relative": (RELATIVE, LOINC, "20152-5", "%"),
}


@pytest.fixture(scope="module")
async def home(ddr: Recorder) -> Home:
    """A patient with readings, reference values and relative values of both quantities."""
    home = Home(ddr, await ddr.patient())
    await home.device("spirometer", type="334990001")
    await home.lung(ddr.clock() - 4 * HOUR)
    await reference(home, "best", {"start": "2026-05-01"})
    await share(home, "share", ["pef", "best"])
    return home


@pytest.fixture(scope="module")
async def reader(home: Home) -> Reader:
    """A DiGA that reads the patient's lung function."""
    return await paired(home.ddr, home.patient, LF)


async def reference(home: Home, key: str, period: dict[str, str], **members: Any) -> str:
    """A personal best of peak flow."""
    fixed = {"code": "83368-1", "value": 640, "unit": "L/min", "method": PERSONAL_BEST, "effective": period}
    return await home.measure(key, **{**fixed, **members})


async def share(home: Home, key: str, sources: list[str], ago: int = 4 * HOUR) -> str:
    """A peak flow relative to the personal best."""
    members = {"code": PEF_RELATIVE, "codeSystem": TEMPORARY, "value": 95.6, "unit": "%", "derivedFrom": sources}
    return await home.measure(key, device="spirometer", effective=home.ago(ago), **members)


async def pef(home: Home, key: str, ago: int) -> str:
    """A peak flow value."""
    members = {"code": "19935-6", "value": 610, "unit": "L/min"}
    return await home.measure(key, device="spirometer", effective=home.ago(ago), **members)


@pytest.mark.requirement("LF-002", "LF-003", "LF-005", "LF-006", "LF-010", "LF-016", "OBS-010")
@pytest.mark.parametrize("key", EXPECTED)
async def test_profile_code_and_unit(home: Home, reader: Reader, key: str) -> None:
    profile, system, code, unit = EXPECTED[key]
    observation = await reader.read(f"Observation/{home.ids[key]}")
    assert observation["meta"]["profile"] == [PROFILES + profile]
    assert [(c["system"], c["code"]) for c in observation["code"]["coding"]] == [(system, code)]
    quantity = observation["valueQuantity"]
    assert (quantity["system"], quantity["code"]) == (UCUM, unit)
    assert quantity["value"] > 0
    assert home.ids[key] in await reader.ids("Observation")
    assert home.ids[key] in await reader.ids(f"Observation?code={system}|{code}")


@pytest.mark.requirement("LF-003", "LF-006", "LF-010", "LF-016")
async def test_foreign_codes_and_units_are_refused(home: Home) -> None:
    now = {"device": "spirometer", "effective": home.ago(HOUR), "value": 3}
    assert await home.unfit(code="19926-5", unit="%", **now) == "code"
    assert await home.unfit(code="20152-5", codeSystem=TEMPORARY, unit="%", **now) == "code"
    for code, unit in (("19935-6", "L"), ("20150-9", "L/min"), ("20152-5", "L")):
        assert await home.unfit(code=code, unit=unit, **now) == "unit"
    period = {"effective": {"start": home.ago(DAY)}, "method": PERSONAL_BEST, "value": 3}
    assert await home.unfit(code="83368-1", unit="L", **period) == "unit"
    assert await home.unfit(code="20149-1", unit="L/min", **period) == "unit"


@pytest.mark.requirement("LF-004")
async def test_readings_and_relative_values_have_a_time(home: Home, reader: Reader) -> None:
    for key in ("pef", "fev1", "share", "relative"):
        observation = await reader.read(f"Observation/{home.ids[key]}")
        assert [name for name in observation if name.startswith("effective")] == ["effectiveDateTime"]
        assert observation["effectiveDateTime"] == home.ago(4 * HOUR)
    value = {"code": "19935-6", "device": "spirometer", "value": 600, "unit": "L/min"}
    assert await home.unfit(**value) == "effective"
    assert await home.unfit(**value, effective={"start": home.ago(HOUR)}) == "effective"


@pytest.mark.requirement("LF-008", "LF-009", "LF-023", "LF-024")
async def test_the_device(home: Home, reader: Reader) -> None:
    spirometer = {"reference": f"Device/{home.ids['spirometer']}"}
    for key in ("pef", "fev1", "share", "relative"):
        assert (await reader.read(f"Observation/{home.ids[key]}"))["device"] == spirometer
    assert (await reader.read(spirometer["reference"]))["type"]["coding"][0]["code"] == "334990001"
    value = {"effective": home.ago(HOUR), "value": 80, "unit": "%"}
    assert await home.unfit(code="20152-5", derivedFrom=["fev1", "reference"], **value) == "device"
    assert await home.unfit(code="20150-9", **{**value, "value": 3.1, "unit": "L"}) == "device"
    measured = await reference(home, "measured", {"start": home.ago(DAY)}, device="spirometer")
    assert (await reader.read(f"Observation/{measured}"))["device"] == spirometer
    assert "device" not in await reader.read(f"Observation/{home.ids['best']}")


@pytest.mark.requirement("LF-009")
async def test_a_sensor_without_calibration_is_no_metric(home: Home, reader: Reader) -> None:
    device = await home.device("plain")
    await home.sensor("plain", "19935-6", "L/min")
    members = {"code": "19935-6", "value": 590, "unit": "L/min", "device": "plain", "sensor": "s"}
    found = await home.measure("plain-pef", effective=home.ago(HOUR), **members)
    assert (await reader.read(f"Observation/{found}"))["device"] == {"reference": f"Device/{device}"}


@pytest.mark.requirement("LF-008")
async def test_a_calibrated_spirometer_is_a_metric(home: Home, reader: Reader) -> None:
    await home.device("laboratory")
    metric = await home.sensor("laboratory", "20150-9", "L", calibration={"state": "calibrated"})
    members = {"code": "20150-9", "value": 3.1, "unit": "L", "device": "laboratory", "sensor": "s"}
    found = await home.measure("calibrated", effective=home.ago(HOUR), **members)
    assert (await reader.read(f"Observation/{found}"))["device"] == {"reference": f"DeviceMetric/{metric}"}


@pytest.mark.requirement("LF-007")
async def test_a_failed_test_has_a_reason_and_no_value(home: Home, reader: Reader) -> None:
    measured = {"device": "spirometer", "effective": home.ago(2 * HOUR)}
    failed: dict[str, dict[str, Any]] = {
        "reading": {"code": "19935-6", **measured},
        "reference": {"code": "83368-1", "effective": {"start": home.ago(DAY)}, "method": PERSONAL_BEST},
        "relative": {"code": "20152-5", "derivedFrom": ["fev1", "reference"], **measured},
    }
    for kind, members in failed.items():
        assert await home.unfit(**members) == "value"
        found = await home.measure(f"failed-{kind}", **members, dataAbsentReason="error")
        observation = await reader.read(f"Observation/{found}")
        assert not [name for name in observation if name.startswith("value")]
        assert [c["code"] for c in observation["dataAbsentReason"]["coding"]] == ["error"]


@pytest.mark.requirement("LF-011", "LF-023")
async def test_a_reference_value_holds_for_a_period(home: Home, reader: Reader) -> None:
    former = await reference(home, "former", {"start": "2026-01-01", "end": "2026-11-18"})
    observation = await reader.read(f"Observation/{former}")
    assert [name for name in observation if name.startswith("effective")] == ["effectivePeriod"]
    assert observation["effectivePeriod"] == {"start": "2026-01-01", "end": "2026-11-18"}
    active = await reader.read(f"Observation/{home.ids['best']}")
    assert active["effectivePeriod"] == {"start": "2026-05-01"}
    value = {"code": "83368-1", "value": 640, "unit": "L/min", "method": PERSONAL_BEST}
    assert await home.unfit(**value) == "effective"
    assert await home.unfit(**value, effective=home.ago(DAY)) == "effective"
    assert await home.unfit(**value, effective={"end": "2026-11-18"}) == "effective.start"


@pytest.mark.requirement("LF-012", "LF-013", "LF-014", "LF-015", "LF-023")
async def test_the_method_of_a_reference_value(home: Home, reader: Reader) -> None:
    period = {"start": home.ago(DAY)}
    for code in ("personal-best", "GLI-2012", "GLI-2022", "other"):
        method: dict[str, Any] = {"coding": [{"system": METHODS, "code": code}], "text": "Best of the last month"}
        found = await reference(home, f"method-{code}", period, method=method)
        assert (await reader.read(f"Observation/{found}"))["method"] == method
    found = await reference(home, "method-text", period, method={"text": "As told by the physician"})
    assert (await reader.read(f"Observation/{found}"))["method"] == {"text": "As told by the physician"}


@pytest.mark.requirement("LF-012", "LF-013", "LF-014", "LF-015")
async def test_other_methods_are_refused(home: Home) -> None:
    value = {"code": "83368-1", "value": 640, "unit": "L/min", "effective": {"start": home.ago(DAY)}}
    known = {"system": METHODS, "code": "GLI-2022"}
    assert await home.unfit(**value) == "method"
    for codings in (
        [known, known],
        [{"system": LOINC, "code": "GLI-2022"}],
        *([{"system": METHODS, "code": code}] for code in ("ECSC-1993", "GLI-2017", "gli-2022")),
    ):
        assert await home.unfit(**value, method={"coding": codings}) == "method.coding"
    other = {"coding": [{"system": METHODS, "code": "other"}]}
    assert await home.unfit(**value, method=other) == "method.text"
    assert measurement_rules.METHODS == LUNG_METHOD_CODES, "no further one that nobody tried: the kit has its own list"


@pytest.mark.requirement("LF-017", "LF-018", "LF-019")
async def test_relative_values_share_their_reference_value(home: Home, reader: Reader) -> None:
    shared = []
    for number in range(3):
        await pef(home, f"morning-{number}", (number + 1) * DAY)
        found = await share(home, f"relative-{number}", ["best", f"morning-{number}"], (number + 1) * DAY)
        sources = [each["reference"] for each in (await reader.read(f"Observation/{found}"))["derivedFrom"]]
        targets = [await reader.read(source) for source in sources]
        assert [code_of(target) for target in targets] == ["19935-6", "83368-1"]
        assert sources[0] == f"Observation/{home.ids[f'morning-{number}']}"
        shared.append(sources[1])
    assert set(shared) == {f"Observation/{home.ids['best']}"}
    corrected = set()
    for number, value in enumerate((640, 650, 660)):  # it is corrected in the meantime
        second = await reference(home, "second-best", {"start": home.ago(50 * DAY)}, value=value)
        found = await share(home, f"of-second-{number}", ["second-best", f"morning-{number}"], (number + 1) * DAY)
        assert {"reference": f"Observation/{second}"} in (await reader.read(f"Observation/{found}"))["derivedFrom"]
        corrected.add(second)
    assert len(corrected) == 1


@pytest.mark.requirement("LF-017", "LF-026")
async def test_a_relative_value_comes_from_one_reading_and_its_reference_value(home: Home, reader: Reader) -> None:
    members = {"device": "spirometer", "effective": home.ago(HOUR), "value": 80, "unit": "%"}
    again = {"device": "spirometer", "effective": home.ago(2 * HOUR), "value": 3.2, "unit": "L"}
    await home.measure("fev1-again", code="20150-9", **again)
    wrong = (["fev1"], ["fev1", "fev1"], ["fev1", "reference", "best"], ["pef", "reference"], ["fev1", "best"])
    for sources in (
        *wrong,
        ["fev1", "fev1-again"],
        ["pef", "fev1"],
        ["best", "reference"],
        ["fev1", "nowhere"],
        ["share", "reference"],
    ):
        assert await home.unfit(code="20152-5", derivedFrom=sources, **members) == "derivedFrom"
    assert await home.unfit(code="20152-5", **members) == "derivedFrom"
    await home.measure("corrected", code="20152-5", derivedFrom=["fev1", "reference"], **members)
    found = await home.measure(
        "corrected", code="20152-5", derivedFrom=["fev1", "reference"], **{**members, "value": 81}
    )
    resource = await reader.read(f"Observation/{found}")
    assert (resource["meta"]["versionId"], len(resource["derivedFrom"])) == ("2", 2)
    # Both of one quantity, but not that of the relative value's code.
    assert await home.unfit(code="20152-5", derivedFrom=["pef", "best"], **members) == "derivedFrom"


@pytest.mark.requirement("LF-020")
async def test_search_by_value(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("spirometer")
    await home.lung(ddr.clock() - 4 * HOUR)  # 612 L/min, 3.4 L, 4.5 L, 75.5 %
    reader = await paired(ddr, home.patient, LF)
    keys = {logical_id: key for key, logical_id in home.ids.items()}

    async def matching(value: str) -> set[str]:
        return {keys[found] for found in await reader.ids(f"Observation?value-quantity={value}")}

    assert await matching("lt400") == {"fev1", "reference", "relative"}
    assert await matching(f"lt400|{UCUM}|L") == {"fev1", "reference"}
    assert await matching(f"gt400|{UCUM}|L/min") == {"pef"}
    assert await matching(f"75.5|{UCUM}|%25") == {"relative"}


@pytest.mark.requirement("LF-025")
async def test_the_temporary_code_is_searched_with_its_slash(home: Home, reader: Reader) -> None:
    assert home.ids["share"] in (found := await reader.ids(f"Observation?code={TEMPORARY}|{PEF_RELATIVE}"))
    assert found == await reader.ids(f"Observation?code={TEMPORARY}|PEF-measured%2Fpredicted")
    assert await reader.ids(f"Observation?code={LOINC}|{PEF_RELATIVE}") == []


@pytest.mark.requirement("LF-027")
async def test_a_personal_best_of_fev1_has_the_code_of_the_prediction(home: Home, reader: Reader) -> None:
    members = {"code": "20149-1", "value": 4.4, "unit": "L", "method": PERSONAL_BEST}
    found = await home.measure("fev1-best", effective={"start": home.ago(DAY)}, **members)
    observation = await reader.read(f"Observation/{found}")
    assert (code_of(observation), observation["method"]) == ("20149-1", PERSONAL_BEST)


@pytest.mark.requirement("LF-027")
async def test_a_personal_best_of_fev1_comes_through_the_fhir_door(home: Home, reader: Reader) -> None:
    known = set(await reader.ids("Observation?code=20149-1"))
    sent = {**reference_value(), "method": PERSONAL_BEST}
    answer = (await home.patient.gateway.post("fhir", json=bundle((METER, device()), sent))).json()
    assert answer["entry"][1]["response"]["status"].startswith("201"), answer
    (found,) = set(await reader.ids("Observation?code=20149-1")) - known
    assert (await reader.read(f"Observation/{found}"))["method"] == PERSONAL_BEST


@pytest.mark.requirement("LF-019", "LF-028")
async def test_reference_values_in_force_or_in_use_stay_readable(home: Home, reader: Reader) -> None:
    old, over = date_time(home.ddr.clock() - 90 * DAY), date_time(home.ddr.clock() - 20 * DAY)
    used = await reference(home, "used", {"start": old, "end": over})
    unused = await reference(home, "unused", {"start": old, "end": over})
    in_force = await reference(home, "in-force", {"start": old})
    stale = await pef(home, "stale", 21 * DAY)
    await share(home, "late", ["stale", "used"], 5 * DAY)
    for logical_id, status in ((used, 200), (in_force, 200), (stale, 200), (unused, 404)):
        assert (await reader.get(f"Observation/{logical_id}")).status_code == status
    assert {used, in_force} <= set(await reader.ids("Observation?code=83368-1"))
