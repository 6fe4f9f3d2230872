"""Measurements as gateways send them, one of each kind."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TIME = "2026-11-20T12:00:00+02:00"
TEMPORARY = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-temporary-codes"
METHODS = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-reference-value-method-codes"


def glucose(**members: Any) -> Json:
    """Blood glucose in mg/dL."""
    return {"code": "2339-0", "device": "meter", "effective": TIME, "value": 120, "unit": "mg/dL", **members}


def pressure(**members: Any) -> Json:
    """A blood pressure panel without mean pressure."""
    components = [
        {"code": "8480-6", "value": 124, "unit": "mm[Hg]"},
        {"code": "8462-4", "value": 82, "unit": "mm[Hg]"},
    ]
    return {"code": "85354-9", "device": "meter", "effective": TIME, "components": components, **members}


def fev1(**members: Any) -> Json:
    """A lung function reading."""
    return {"code": "20150-9", "device": "meter", "effective": TIME, "value": 3.4, "unit": "L", **members}


def peak_flow(**members: Any) -> Json:
    """A peak flow reading."""
    return {"code": "19935-6", "device": "meter", "effective": TIME, "value": 612, "unit": "L/min", **members}


def reference(**members: Any) -> Json:
    """A lung function reference value in force."""
    return {
        "code": "20149-1",
        "effective": {"start": "2025-05-01"},
        "value": 4.5,
        "unit": "L",
        "method": {"coding": [{"system": METHODS, "code": "GLI-2022"}]},
        **members,
    }


def relative(**members: Any) -> Json:
    """A relative value, derived from the measurements `reading` and `reference`."""
    return {
        "code": "20152-5",
        "device": "meter",
        "effective": TIME,
        "value": 75.5,
        "unit": "%",
        "derivedFrom": ["reading", "reference"],
        **members,
    }


def without(measurement: Json, *names: str) -> Json:
    """`measurement` without these members."""
    return {name: value for name, value in measurement.items() if name not in names}
