"""Parts of resources that a client asks for: _summary and _elements (FHIR R4 search.html#summary, #elements)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ddr.fhir.elements import SHAPES
from ddr.fhir.outcome import invalid_value

SUMMARIES = ("true", "text", "data", "count", "false")
PARAMETERS = frozenset({"_summary", "_elements"})
SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}

_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules"})
# Elements with a minimum of 1, which a client needs to read the rest; Observation.status is also a modifier.
_MANDATORY = {"Observation": {"status", "code"}, "Device": {"status"}, "DeviceMetric": {"type", "category"}}
# The elements that R4 marks Σ, as far as this recorder ever sends them; likewise for components.
_SUMMARY = {
    "Observation": {"status", "code", "subject", "effective", "value", "derivedFrom", "component"},
    "Device": {"status"},
    "DeviceMetric": {*("type", "unit", "source", "operationalStatus", "category", "measurementPeriod", "calibration")},
}
_COMPONENT = {"code", "value"}
_CHOICES = ("effective", "value")


@dataclass(frozen=True)
class Subset:
    """Which part of each resource is requested; `summary` is one of SUMMARIES, `elements` names root elements."""

    summary: str = "false"
    elements: tuple[str, ...] = ()

    @property
    def counts_only(self) -> bool:
        """Whether no resource at all is wanted."""
        return self.summary == "count"

    def of(self, resource: Mapping[str, Any], *, included: bool = False) -> Mapping[str, Any]:
        """`resource`, or the part of it, marked as such; the list of elements does not apply to `included` ones."""
        kept: Mapping[str, Any] = resource
        kind = resource["resourceType"]
        if self.summary == "true":
            kept = _only(kept, _SUMMARY[kind])
            if parts := kept.get("component"):
                kept = {**kept, "component": [_only(part, _COMPONENT) for part in parts]}
        elif self.summary == "text":  # our resources have no narrative
            kept = _only(kept, _MANDATORY[kind])
        if self.elements and not included:
            kept = _only(kept, _MANDATORY[kind].union(self.elements))
        return resource if kept is resource else {**kept, "meta": {**kept["meta"], "tag": [SUBSETTED]}}


WHOLE = Subset()


def read_subset(kind: str, pairs: Iterable[tuple[str, str]]) -> Subset:
    """What the parameters `_summary` and `_elements` among `pairs` request for resources of this type.

    An element may be named with or without its type ("value", "value[x]", "valueQuantity", "Observation.value").
    A parameter without a value is ignored (search.html#errors). Raises FhirError 400.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in PARAMETERS and value and found.setdefault(name, value) != value:
            raise invalid_value(name, value)
    summary = found.get("_summary", "false")
    if summary not in SUMMARIES:
        raise invalid_value("_summary", summary)
    names = found["_elements"].split(",") if "_elements" in found else []
    return Subset(summary, tuple(dict.fromkeys(_element(kind, name.strip()) for name in names)))


def _element(kind: str, text: str) -> str:
    name = text.removeprefix(f"{kind}.").removesuffix("[x]")
    known = SHAPES[kind].elements.keys()
    # resourceType is only a member of the JSON form; fhirpy names it.
    if name.startswith("_") or not (name in known or name in _CHOICES or name == "resourceType"):
        raise invalid_value("_elements", text)
    return name


def _only(content: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The members with these names; a name without a type stands for every type of the choice element."""
    return {key: value for key, value in content.items() if key in _ALWAYS or key in names or _choice(key) in names}


def _choice(key: str) -> str | None:
    return next((name for name in _CHOICES if key.startswith(name)), None)
