"""Device and DeviceMetric against their HDDT profiles (DEV requirements)."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.fhir.device import device_resource, device_status
from ddr.fhir.device_metric import device_metric_resource
from ddr.fhir.device_types import DEVICE_TYPES, NOMENCLATURE, metric_type
from tests.fhir.rows import CATALOG, IDS, NOW, device_row, sensor_row
from tests.fhir.validity import assert_valid

DELAY = 900_000


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "active"),
        ({"heard_ms": NOW - DELAY}, "active"),
        ({"heard_ms": NOW - DELAY - 1}, "unknown"),
        ({"device_ended_ms": NOW}, "inactive"),
        ({"device_ended_ms": NOW + 1}, "active"),
        ({"expiration_ms": NOW, "heard_ms": 0}, "inactive"),
        ({"expiration_ms": None}, "active"),
    ],
)
def test_status(changes: dict[str, Any], status: str) -> None:
    assert device_status(device_row(**changes), NOW, DELAY) == status


def test_device() -> None:
    resource = device_resource(device_row(), IDS, "active")
    assert_valid(resource)
    assert resource == {
        "resourceType": "Device",
        "id": "device-7",
        "meta": {
            "versionId": "1",
            "lastUpdated": "2026-11-21T12:00:00.000Z",
            "profile": ["https://gematik.de/fhir/hddt/StructureDefinition/hddt-personal-health-device"],
        },
        "status": "active",
        "manufacturer": "Glukko Inc.",
        "expirationDate": "2026-12-01",
        "serialNumber": "CGM1234567890",
        "deviceName": [{"name": "GlukkoCGM 18", "type": "user-friendly-name"}],
        "modelNumber": "GCGMA98765",
        "type": {
            "coding": [
                {
                    "system": "http://snomed.info/sct",
                    "version": "http://snomed.info/sct/11000274103/version/20251115",
                    "code": "700585005",
                    "display": "Invasive interstitial-fluid glucose monitoring system (physical object)",
                }
            ]
        },
    }


def test_version_stays_while_the_status_changes() -> None:
    versions = {
        device_resource(device_row(device_updated_ms=NOW + i), IDS, status)["meta"]["versionId"]
        for i, status in enumerate(("active", "unknown", "inactive"))
    }
    assert versions == {"1"}


def test_device_without_optional_parts() -> None:
    missing = {"serial_number": None, "model_number": None, "expiration_date": None, "type_code": None}
    resource = device_resource(device_row(**missing), IDS, "unknown")
    assert_valid(resource)
    assert not {"serialNumber", "modelNumber", "expirationDate", "type", "definition"} & set(resource)


def test_definition_is_an_absolute_reference() -> None:
    url = "https://hiis.bfarm.de/api/fhir/v3.0/DeviceDefinition/1"
    resource = device_resource(device_row(definition_url=url), IDS, "active")
    assert_valid(resource)
    assert resource["definition"] == {"reference": url}


@pytest.mark.parametrize("code", sorted(DEVICE_TYPES))
def test_types_are_those_of_the_value_set(code: str) -> None:
    resource = device_resource(device_row(type_code=code), IDS, "active")
    assert_valid(resource)
    assert resource["type"]["coding"][0]["code"] == code


def test_metric() -> None:
    resource = device_metric_resource(sensor_row(), IDS)
    assert_valid(resource)
    assert resource == {
        "resourceType": "DeviceMetric",
        "id": "metric-11",
        "meta": {
            "versionId": "2",
            "lastUpdated": "2026-11-22T12:00:00.000Z",
            "profile": ["https://gematik.de/fhir/hddt/StructureDefinition/hddt-sensor-type-and-calibration-status"],
        },
        "type": {"coding": [{"system": NOMENCLATURE, "code": "160212", "display": "MDC_CONC_GLU_ISF"}]},
        "unit": {"coding": [{"system": "http://unitsofmeasure.org", "code": "mg/dL", "display": "mg/dL"}]},
        "source": {"reference": "Device/device-7"},
        "operationalStatus": "on",
        "category": "measurement",
        "measurementPeriod": {"repeat": {"frequency": 1, "period": 5, "periodUnit": "min"}},
        "calibration": [{"type": "unspecified", "state": "calibrated", "time": "2026-11-20T08:00:00Z"}],
    }


def test_registered_parts_win_over_defaults() -> None:
    metric = {
        "type": {"coding": [{"system": "urn:x", "code": "1"}], "text": "own"},
        "category": "calculation",
        "operationalStatus": "standby",
        "measurementPeriod": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "h"}},
    }
    resource = device_metric_resource(sensor_row(metric=metric, display_unit="mmol/L"), IDS)
    assert_valid(resource)
    assert metric.items() <= resource.items()
    assert resource["unit"]["coding"][0]["code"] == "mmol/L"


def test_calibration_with_state_only_and_none_at_all() -> None:
    row = sensor_row(calibration_state="calibration-required", calibration_type=None, calibration_time=None)
    assert device_metric_resource(row, IDS)["calibration"] == [{"state": "calibration-required"}]
    without = device_metric_resource(sensor_row(calibration_state=None), IDS)
    assert_valid(without)
    assert "calibration" not in without


@pytest.mark.parametrize(
    ("period_ms", "expected"), [(90_000, (90, "s")), (2_500, (2.5, "s")), (3_600_000, (60, "min")), (None, None)]
)
def test_measurement_period_follows_the_sampling_period(
    period_ms: int | None, expected: tuple[float, str] | None
) -> None:
    resource = device_metric_resource(sensor_row(period_ms=period_ms), IDS)
    assert_valid(resource)
    repeat = resource.get("measurementPeriod", {}).get("repeat")
    assert (repeat and (repeat["period"], repeat["periodUnit"])) == expected


@pytest.mark.requirement("RS-043")
def test_whatever_a_sensor_measures_has_a_type_of_the_nomenclature() -> None:
    measured = [code for miv in CATALOG.mivs for code in miv.codes if code.kind in ("reading", "panel")]
    types = {code.code: metric_type(code.system, code.code)["coding"][0]["system"] for code in measured}
    assert set(types.values()) == {NOMENCLATURE}, types


def test_metric_type_of_a_code_that_the_table_does_not_know() -> None:
    assert metric_type("http://loinc.org", "8867-4") == {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
    assert metric_type("urn:other", "99504-3") == {"coding": [{"system": "urn:other", "code": "99504-3"}]}
