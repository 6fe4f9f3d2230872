"""The report of $hddt-cgm-summary: a collection Bundle of the HL7 CGM summary Observations (HDDT measurement-cgm.md).

HL7 CGM IG 1.0.0 prescribes codes and unit texts. The report is made for one request and not stored, so its Observations
have no ids and refer to each other by the Bundle's fullUrls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any
from uuid import uuid4

from ddr.fhir.bundle import collection
from ddr.fhir.observation_measurement import opaque_subject
from ddr.fhir.references import ABSENT, CATEGORY, PROFILES
from ddr.fhir.reporting_period import Period
from ddr.miv.model import LOINC, UCUM
from ddr.series.metrics import Metrics

OPERATION = "hddt-cgm-summary"
DEFINITION = "https://gematik.de/fhir/hddt/OperationDefinition/hddt-cgm-summary-operation"
PROFILE = PROFILES + "hddt-cgm-summary"
HL7 = "http://hl7.org/fhir/uv/cgm/StructureDefinition/cgm-summary"

RANGE_CODES = ("104642-4", "104641-6", "97510-2", "104640-8", "104639-0")  # very low to very high

_LABORATORY = {"coding": [{"system": CATEGORY, "code": "laboratory"}]}
_UNKNOWN = {"coding": [{"system": ABSENT, "code": "unknown"}]}
_HUNDREDTH = Decimal("0.01")

Entry = tuple[str, Mapping[str, Any]]


def summary_bundle(
    metrics: Metrics, period: Period, pairing_id: str, devices: Iterable[Entry], timestamp: str
) -> dict[str, Any]:
    """The report: the panel, its seven members, and `devices` as pairs of fullUrl and Device.

    `pairing_id` is the only name of the patient that a DiGA knows; `timestamp` is the instant of the report.
    """
    head = {
        "status": "final",
        "category": [_LABORATORY],
        "subject": opaque_subject(pairing_id),
        "effectivePeriod": {"start": period.first.isoformat(), "end": period.last.isoformat()},
    }
    members: list[Entry] = [(uuid4().urn, {**member, **head}) for member in _members(metrics)]
    panel = {**_observation("", "107931-8"), **head, "hasMember": [{"reference": full_url} for full_url, _ in members]}
    bundle = collection([(uuid4().urn, panel), *members, *devices], timestamp)
    return {**bundle, "meta": {"profile": [PROFILE]}}


def _members(metrics: Metrics) -> list[dict[str, Any]]:
    ranges = [
        {"code": _code(code), **_quantity(share, "%", "%")}
        for code, share in zip(RANGE_CODES, metrics.ranges, strict=True)
    ]
    return [
        _observation("-mean-glucose-mass-per-volume", "97507-8") | _quantity(metrics.mean, "mg/dl", "mg/dL"),
        _observation("-mean-glucose-moles-per-volume", "105273-7") | _quantity(metrics.mean_mmol, "mmol/l", "mmol/L"),
        _observation("-times-in-ranges", "106793-3") | {"component": ranges},
        _observation("-gmi", "97506-0") | _quantity(metrics.gmi, "%", "%"),
        _observation("-coefficient-of-variation", "104638-2") | _quantity(metrics.cv, "%", "%"),
        _observation("-days-of-wear", "104636-6") | _quantity(metrics.days_of_wear, "days", "d"),
        _observation("-sensor-active-percentage", "104637-4") | _quantity(metrics.active, "%", "%"),
    ]


def _observation(profile: str, code: str) -> dict[str, Any]:
    return {"resourceType": "Observation", "meta": {"profile": [HL7 + profile]}, "code": _code(code)}


def _code(code: str) -> dict[str, Any]:
    return {"coding": [{"system": LOINC, "code": code}]}


def _quantity(value: Fraction | float | int | None, unit: str, code: str) -> dict[str, Any]:
    """valueQuantity; a number that is not defined for these data is absent, with the reason that HDDT prescribes."""
    if value is None:
        return {"dataAbsentReason": _UNKNOWN}
    shown = value if isinstance(value, int) else hundredths(value)
    return {"valueQuantity": {"value": shown, "unit": unit, "system": UCUM, "code": code}}


def hundredths(value: Fraction | float) -> Decimal:
    """`value` with two decimals, both kept ("56.20"), because HL7 requires at least two. Halves are rounded up."""
    exact = Fraction(value)
    return (Decimal(exact.numerator) / exact.denominator).quantize(_HUNDREDTH, ROUND_HALF_UP)
