"""FHIR data types that gateways send unchanged: CodeableConcept, Coding, the repeat part of Timing (FHIR R4).

Any other content raises Problem 422.
"""

from __future__ import annotations

from typing import Any

from ddr.gateway.fields import Fields, given
from ddr.gateway.problem import invalid

MAX_CODINGS = 5
PERIOD_UNITS = {"s", "min", "h", "d", "wk", "mo", "a"}

Concept = dict[str, Any]


def concept(fields: Fields | None) -> Concept | None:
    """A CodeableConcept with codings, a text, or both."""
    if fields is None:
        return None
    codings = [coding(entry) for entry in fields.objects("coding", MAX_CODINGS) or ()]
    text = fields.note("text")
    fields.done()
    if not codings and text is None:
        raise invalid(fields.where, "needs a coding or a text")
    return ({"coding": codings} if codings else {}) | ({"text": text} if text else {})


def coding(fields: Fields) -> dict[str, str]:
    """A Coding: system and code, and optionally version and display."""
    found = {
        "system": fields.need("system", fields.uri),
        "version": fields.text("version"),
        "code": fields.need("code", fields.code),
        "display": fields.text("display"),
    }
    fields.done()
    return given(found)


def concepts(fields: Fields, name: str, most: int) -> list[Concept]:
    """An array of CodeableConcepts; empty when the member is absent."""
    return [found for entry in fields.objects(name, most) or () if (found := concept(entry))]


def measurement_period(fields: Fields | None) -> dict[str, Any] | None:
    """DeviceMetric.measurementPeriod: a Timing whose repeat says how often, e.g. once per minute."""
    if fields is None:
        return None
    repeat = Fields(fields.raw("repeat"), fields.at("repeat"))
    frequency = repeat.need("frequency", lambda name: repeat.integer(name, 1, 1_000_000))
    period = repeat.need("period", repeat.number)
    unit = repeat.need("periodUnit", lambda name: repeat.choice(name, PERIOD_UNITS))
    repeat.done()
    fields.done()
    if period <= 0:
        raise invalid(repeat.at("period"), "must be positive")
    return {"repeat": {"frequency": frequency, "period": period, "periodUnit": unit}}
