"""Parts of resources: the elements of _summary=true are those that the standard marks Σ."""

from __future__ import annotations

from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from ddr.fhir.elements import SHAPES
from ddr.fhir.outcome import FhirError
from ddr.fhir.subset import SUBSETTED, Subset, read_subset

# Marked Σ, and never sent by this recorder.
NEVER_SENT = {
    "Observation": {
        *("identifier", "basedOn", "partOf", "focus", "encounter", "issued", "performer", "hasMember"),
    },
    "Device": {"udiCarrier", "safety"},
    "DeviceMetric": {"identifier", "parent", "color"},
}


def full(kind: str) -> dict[str, Any]:
    """A resource with something in every element."""
    names = [name for name in SHAPES[kind].elements if not name.startswith("_") and name != "meta"]
    return {"resourceType": kind, "meta": {"versionId": "1"}, **{name: [{"code": 1, "note": 2}] for name in names}}


@pytest.mark.parametrize("kind", list(NEVER_SENT))
def test_the_summary_has_the_marked_elements(kind: str) -> None:
    marked = set(get_fhir_model_class(kind).summary_elements_sequence())
    found = Subset("true").of(full(kind))
    assert found.keys() - {"resourceType"} == marked - NEVER_SENT[kind]
    assert found["meta"] == {"versionId": "1", "tag": [SUBSETTED]}


def test_components_are_shortened_too() -> None:
    marked = set(get_fhir_model_class("ObservationComponent").summary_elements_sequence()) - {"modifierExtension"}
    part = dict.fromkeys(SHAPES["ObservationComponent"].elements, 1)
    (found,) = Subset("true").of({**full("Observation"), "component": [part]})["component"]
    assert found.keys() - {"id"} == marked


@pytest.mark.parametrize("name", ["_status", "Observation._status", "__status"])
def test_what_accompanies_a_primitive_in_json_is_no_element(name: str) -> None:
    with pytest.raises(FhirError) as caught:
        read_subset("Observation", [("_elements", f"status,{name}")])
    assert caught.value.status == 400
    assert read_subset("Observation", [("_elements", "Observation.status,value[x]")]).elements == ("status", "value")


def test_what_is_whole_stays_as_it_is() -> None:
    resource = full("Device")
    assert Subset("data").of(resource) is resource
    assert Subset(elements=("url",)).of(resource, included=True) is resource
    assert "tag" not in resource["meta"]
