"""The rules of the four MIVs for single measurements, and the Observations they become."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ddr.fhir.representation import exact_json
from ddr.gateway.fields import Fields
from ddr.gateway.measurement_rules import Upload, parse_measurement
from ddr.gateway.problem import Problem
from ddr.miv.loader import load_catalog
from ddr.settings import Settings
from tests.gateway.samples import (
    METHODS,
    TEMPORARY,
    TIME,
    Json,
    fev1,
    glucose,
    peak_flow,
    pressure,
    reference,
    relative,
    without,
)

CATALOG = load_catalog(Settings().miv_packages, {})
UCUM = "http://unitsofmeasure.org"
SYSTOLIC, DIASTOLIC = pressure()["components"]
MEAN = {"code": "8478-0", "value": 94, "unit": "mm[Hg]"}


def parse(body: Json) -> Upload:
    return parse_measurement("m1", Fields(body), CATALOG, 1_795_341_600_000)


def test_blood_glucose() -> None:
    upload = parse(glucose(interpretation=[{"text": "high"}], note="fasting", method={"text": "strip"}))
    assert upload.content == {
        "resourceType": "Observation",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0", "display": upload.code.display}]},
        "effectiveDateTime": TIME,
        "valueQuantity": {"value": 120, "unit": "mg/dl", "system": UCUM, "code": "mg/dL"},
        "interpretation": [{"text": "high"}],
        "note": [{"text": "fasting"}],
        "method": {"text": "strip"},
    }
    assert (upload.effective_ms, upload.effective_end_ms) == (1_795_168_800_000, 1_795_168_800_999)
    assert (upload.status, upload.comparator, upload.derived_from) == ("final", None, ())


@pytest.mark.parametrize(
    ("code", "unit"),
    [("2339-0", "mg/dL"), ("15074-8", "mmol/L"), ("2345-7", "mg/dL"), ("14749-6", "mmol/L"), ("41653-7", "mg/dL"),
     ("14743-9", "mmol/L")],
)  # fmt: skip
def test_all_glucose_codes_with_their_units(code: str, unit: str) -> None:
    value = 120 if unit == "mg/dL" else 6.7
    assert parse(glucose(code=code, unit=unit, value=value)).content["valueQuantity"]["code"] == unit
    with pytest.raises(Problem, match="unit"):
        parse(glucose(code=code, unit="mmol/L" if unit == "mg/dL" else "mg/dL"))


@pytest.mark.parametrize("comparator", ["<", ">"])
def test_lo_and_hi(comparator: str) -> None:
    upload = parse(glucose(value=30, comparator=comparator))
    assert upload.content["valueQuantity"]["comparator"] == upload.comparator == comparator


@pytest.mark.parametrize("body", [glucose(), fev1(), peak_flow(), reference(), relative()])
def test_a_failed_measurement_has_a_reason_and_no_value(body: Json) -> None:
    upload = parse({**without(body, "value", "unit"), "dataAbsentReason": "error"})
    assert "valueQuantity" not in upload.content
    assert upload.content["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert upload.value is None
    with pytest.raises(Problem) as caught:
        parse({**body, "dataAbsentReason": "error"})
    assert caught.value.code == "value-and-absent"


@pytest.mark.parametrize("text", ["5.5", "0.1", "5", "0.10", "1.0001", "9.8760", "5.0"])
def test_numbers_stay_as_they_are(text: str) -> None:
    upload = parse(fev1(value=json.loads(text, parse_float=Decimal)))
    assert f'"value":{text},' in exact_json(upload.content).decode()
    assert str(upload.value) == text


def test_blood_pressure() -> None:
    upload = parse(pressure(components=[MEAN, DIASTOLIC, SYSTOLIC]))
    category = upload.content["category"][0]["coding"][0]
    assert category == {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    parts = upload.content["component"]
    assert [part["code"]["coding"][0]["code"] for part in parts] == ["8480-6", "8462-4", "8478-0"]
    assert parts[0]["valueQuantity"] == {"value": 124, "unit": "mm[Hg]", "system": UCUM, "code": "mm[Hg]"}
    assert upload.value is None


def test_partly_failed_blood_pressure() -> None:
    failed = {"code": "8462-4", "dataAbsentReason": "error"}
    parts = parse(pressure(components=[SYSTOLIC, failed])).content["component"]
    assert ["valueQuantity" in part for part in parts] == [True, False]
    assert parts[1]["dataAbsentReason"]["coding"][0]["code"] == "error"


@pytest.mark.parametrize(
    ("components", "field"),
    [
        ([SYSTOLIC], "components"),
        ([DIASTOLIC, MEAN], "components"),
        ([SYSTOLIC, DIASTOLIC, SYSTOLIC], "components[2].code"),
        ([SYSTOLIC, {"code": "8867-4", "value": 60, "unit": "/min"}], "components[1].code"),
        ([SYSTOLIC, {**DIASTOLIC, "unit": "kPa"}], "components[1].unit"),
        ([SYSTOLIC, without(DIASTOLIC, "unit")], "components[1].unit"),
        ([SYSTOLIC, without(DIASTOLIC, "value")], "components[1].value"),
        ([SYSTOLIC, {**DIASTOLIC, "dataAbsentReason": "error"}], "components[1].dataAbsentReason"),
        ([SYSTOLIC, {**DIASTOLIC, "side": "left"}], "components[1].side"),
        ([SYSTOLIC, 5], "components[1]"),
        ([SYSTOLIC, DIASTOLIC, MEAN, MEAN], "components"),
        ({}, "components"),
        (None, "components"),
    ],
)
def test_invalid_panels(components: Any, field: str) -> None:
    with pytest.raises(Problem) as caught:
        parse(pressure(components=components))
    assert (caught.value.status, caught.value.field) == (422, field)


@pytest.mark.parametrize(
    "method",
    [
        {"coding": [{"system": METHODS, "code": "personal-best"}]},
        {"coding": [{"system": METHODS, "code": "other"}], "text": "measured by the physician"},
        {"text": "estimated"},
    ],
)
def test_reference_value(method: Json) -> None:
    upload = parse(reference(method=method))
    assert upload.content["method"] == method
    assert upload.content["effectivePeriod"] == {"start": "2025-05-01"}
    assert (upload.effective_ms, upload.effective_end_ms) == (1_746_057_600_000, None)


def test_former_reference_value() -> None:
    upload = parse(reference(effective={"start": "2025-05-01", "end": "2025-05-02"}))
    assert upload.content["effectivePeriod"] == {"start": "2025-05-01", "end": "2025-05-02"}
    assert upload.effective_end_ms == 1_746_057_600_000 + 2 * 86_400_000 - 1


def test_relative_values() -> None:
    temporary = relative(codeSystem=TEMPORARY, code="PEF-measured/predicted")
    assert parse(temporary).content["code"]["coding"][0]["system"] == TEMPORARY
    assert parse(relative()).derived_from == ("reading", "reference")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (without(glucose(), "device"), "device"),
        (without(glucose(), "effective"), "effective"),
        (without(glucose(), "value"), "value"),
        (without(glucose(), "unit"), "unit"),
        (glucose(code="99504-3"), "code"),
        (glucose(code="1-1"), "code"),
        (glucose(codeSystem="http://snomed.info/sct"), "code"),
        (glucose(effective="2026-11-20"), "effective"),
        (glucose(effective="2026-11-20T12:00:00"), "effective"),
        (glucose(effective="2026-02-30T12:00:00Z"), "effective"),
        (glucose(effective={"start": TIME}), "effective"),
        (glucose(value="120"), "value"),
        (glucose(value=True), "value"),
        (glucose(value=1e10), "value"),
        (glucose(value=1e-300), "value"),
        (glucose(value=0.30000000000000004), "value"),
        (glucose(comparator="<="), "comparator"),
        (glucose(dataAbsentReason="lazy"), "dataAbsentReason"),
        (glucose(status="registered"), "status"),
        (glucose(note=""), "note"),
        (glucose(interpretation=[]), "interpretation"),
        (glucose(interpretation=[{}]), "interpretation[0]"),
        (glucose(method="strip"), "method"),
        (glucose(components=[SYSTOLIC]), "components"),
        (glucose(derivedFrom=["a", "b"]), "derivedFrom"),
        (glucose(sensor="a/b"), "sensor"),
        (pressure(value=1), "value"),
        (without(reference(), "method"), "method"),
        (reference(method={"coding": [{"system": METHODS, "code": "guess"}]}), "method.coding"),
        (reference(method={"coding": [{"system": "http://snomed.info/sct", "code": "other"}]}), "method.coding"),
        (reference(method={"coding": [{"system": METHODS, "code": "other"}] * 2}), "method.coding"),
        (reference(effective=TIME), "effective"),
        (reference(effective={}), "effective.start"),
        (reference(effective={"start": "2025-05-01", "end": "2025-04-30"}), "effective.end"),
        (reference(effective={"start": "0001-01-01T00:00:00+01:00"}), "effective.start"),  # no date in some languages
        (reference(effective={"start": "9999-12-31"}), "effective.start"),
        (reference(effective={"start": "2025-05-01", "to": "2025-06-01"}), "effective.to"),
        (reference(sensor="s"), "sensor"),
    ],
)
def test_invalid_measurements(body: Json, field: str) -> None:
    with pytest.raises(Problem) as caught:
        parse(body)
    assert (caught.value.status, caught.value.field) == (422, field)
