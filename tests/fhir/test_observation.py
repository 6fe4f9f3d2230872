"""Chunks and dedicated measurements against their HDDT profiles."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from ddr.fhir.negotiation import Format
from ddr.fhir.observation_chunk import chunk_resource
from ddr.fhir.observation_measurement import measurement_resource
from ddr.fhir.representation import render
from tests.fhir.rows import IDS, SHOWN, code, measurement_row, sensor_row
from tests.fhir.validity import assert_valid

PROFILES = "https://gematik.de/fhir/hddt/StructureDefinition/"
UCUM = "http://unitsofmeasure.org"


def test_chunk() -> None:
    resource = chunk_resource(sensor_row(), SHOWN, IDS, code("99504-3"))
    assert_valid(resource)
    assert orjson.loads(render(resource, Format.JSON)) == {
        "resourceType": "Observation",
        "id": "chunk-11-2",
        "meta": {
            "versionId": "3",
            "lastUpdated": "2026-11-22T12:00:00.005Z",
            "profile": [PROFILES + "hddt-continuous-glucose-measurement"],
        },
        "status": "final",
        "code": {
            "coding": [
                {
                    "system": "http://loinc.org",
                    "code": "99504-3",
                    "display": "Glucose [Mass/volume] in Interstitial fluid",
                }
            ]
        },
        "effectivePeriod": {"start": "2026-11-21T12:00:00Z", "end": "2026-11-22T11:59:59Z"},
        "valueSampledData": {
            "origin": {"value": 0, "unit": "mg/dl", "system": UCUM, "code": "mg/dL"},
            "period": 300_000,
            "lowerLimit": 40,
            "upperLimit": 400.5,
            "dimensions": 1,
            "data": "123 L U E 126",
        },
        "device": {"reference": "DeviceMetric/metric-11"},
    }


def test_chunk_of_a_device_without_calibration_refers_to_the_device() -> None:
    resource = chunk_resource(sensor_row(calibrated_device=False), SHOWN, IDS, code("99504-3"))
    assert resource["device"] == {"reference": "Device/device-7"}


def test_chunk_without_data() -> None:
    resource = chunk_resource(sensor_row(), replace(SHOWN, status="preliminary", data=None), IDS, code("105272-9"))
    assert_valid(resource)
    assert "valueSampledData" not in resource
    assert resource["dataAbsentReason"]["coding"][0]["code"] == "temp-unknown"


def test_chunk_with_method_and_note_and_without_limits() -> None:
    method = {"coding": [{"system": "http://snomed.info/sct", "code": "463729000"}]}
    row = sensor_row(method=method, note="Warm-up", lower_limit=None, upper_limit=None)
    resource = chunk_resource(row, SHOWN, IDS, code("99504-3"))
    assert_valid(resource)
    assert resource["method"] == method and resource["note"] == [{"text": "Warm-up"}]
    assert not {"lowerLimit", "upperLimit"} & set(resource["valueSampledData"])


def test_measurement_keeps_the_digits() -> None:
    content = (
        b'{"code":{"coding":[{"system":"http://loinc.org","code":"15074-8"}]},"effectiveDateTime":"2026-11-22T10:00:00Z",'
        b'"valueQuantity":{"value":5.60,"unit":"mmol/l","system":"http://unitsofmeasure.org","code":"mmol/L"}}'
    )
    resource = measurement_resource(measurement_row(content), IDS, code("15074-8"))
    assert_valid(resource)
    assert b'"value":5.60,' in render(resource, Format.JSON)
    assert b'<value value="5.60"/>' in render(resource, Format.XML)
    assert resource["meta"]["profile"] == [PROFILES + "hddt-blood-glucose-measurement"]
    assert resource["device"] == {"reference": "Device/device-7"}
    assert resource["status"] == "final"
    assert not {"subject", "derivedFrom"} & set(resource)


def test_measurement_of_a_calibrated_device_refers_to_the_metric_only() -> None:
    resource = measurement_resource(measurement_row({}, epoch_no=11), IDS, code("2339-0"))
    assert resource["device"] == {"reference": "DeviceMetric/metric-11"}


def test_blood_pressure_has_an_opaque_subject() -> None:
    content = {
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "vital-signs",
                    }
                ]
            }
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
        "effectiveDateTime": "2026-11-22T10:00:00Z",
        "component": [
            {
                "code": {"coding": [{"system": "http://loinc.org", "code": part}]},
                "valueQuantity": {"value": value, "unit": "mm[Hg]", "system": UCUM, "code": "mm[Hg]"},
            }
            for part, value in (("8480-6", 124), ("8462-4", 82))
        ],
    }
    resource = measurement_resource(measurement_row(content), IDS, code("85354-9"), "ab" * 32)
    assert_valid(resource)
    assert resource["subject"] == {"type": "Patient", "identifier": {"value": "ab" * 32}}


def test_relative_lung_function_names_its_sources() -> None:
    content = {
        "code": {"coding": [{"system": "http://loinc.org", "code": "20152-5"}]},
        "effectiveDateTime": "2026-11-22T10:00:00Z",
        "valueQuantity": {"value": 75.5, "unit": "%", "system": UCUM, "code": "%"},
    }
    resource = measurement_resource(measurement_row(content, derived_from=[1, 2]), IDS, code("20152-5"))
    assert_valid(resource)
    assert resource["derivedFrom"] == [
        {"reference": "Observation/measurement-1"},
        {"reference": "Observation/measurement-2"},
    ]


def test_reference_value_without_device() -> None:
    content = {
        "code": {"coding": [{"system": "http://loinc.org", "code": "20149-1"}]},
        "effectivePeriod": {"start": "2026-05-01"},
        "valueQuantity": {"value": 4.5, "unit": "L", "system": UCUM, "code": "L"},
        "method": {"text": "personal best"},
    }
    resource = measurement_resource(measurement_row(content, device_no=None), IDS, code("20149-1"))
    assert_valid(resource)
    assert "device" not in resource


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "entered-in-error"])
def test_status_of_the_row_wins(status: str) -> None:
    row = measurement_row({"status": "final", "code": {"text": "x"}}, status=status)
    assert measurement_resource(row, IDS, code("2339-0"))["status"] == status
