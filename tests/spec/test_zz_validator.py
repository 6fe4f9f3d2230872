"""The last word: HAPI's validator checks every FHIR resource that any black-box test of this run received."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.spec.conftest import received
from tests.support.cgm_profiles import write_cgm_profiles
from tests.support.validator import Validator

Json = dict[str, Any]
BASE = "https://localhost/fhir"


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validator]:
    with Validator(
        Path(os.environ["DDR_HDDT_ARTIFACTS"]), write_cgm_profiles(tmp_path_factory.mktemp("cgm"))
    ) as running:
        yield running


@pytest.mark.validator
def test_findings_are_told_of_the_resource_that_has_them(validator: Validator) -> None:
    good: Json = {"resourceType": "Bundle", "type": "searchset"}
    wrong: Json = {"resourceType": "Device", "status": "none-of-these"}
    resources = [wrong if number % 7 == 3 else good for number in range(50)]
    assert [bool(found) for found in validator.all_errors(resources)] == [one is wrong for one in resources]


@pytest.mark.validator
@pytest.mark.requirement("RS-001", "RS-013", "OBS-002")
def test_every_resource_received_is_valid(validator: Validator, pytestconfig: pytest.Config) -> None:
    if folder := pytestconfig.getoption("--evidence"):
        received.read(folder)
    resources = [(origin, resource) for origin, resource in received.resources() if not _parts(resource)]
    assert resources, "run together with the tests that receive something, or after them with the same --evidence"
    sources = dict(_observations(resource for _, resource in resources))
    errors = validator.all_errors([_with_sources(resource, sources) for _, resource in resources])
    assert not [(origin, each) for (origin, _), each in zip(resources, errors, strict=True) if each]


def _parts(resource: Json) -> bool:
    """True for a resource that is marked as a part (_summary, _elements): it need not conform to the profiles."""
    found = [resource, *(entry["resource"] for entry in resource.get("entry", ()) if "resource" in entry)]
    return any(tag["code"] == "SUBSETTED" for each in found for tag in each.get("meta", {}).get("tag", ()))


def _observations(resources: Iterable[Json]) -> Iterator[tuple[str, Json]]:
    """Every Observation by its reference."""
    for resource in resources:
        yield from _observations(entry["resource"] for entry in resource.get("entry", ()) if "resource" in entry)
        if resource["resourceType"] == "Observation" and "id" in resource:  # those of the summary have none
            yield f"Observation/{resource['id']}", resource


def _with_sources(resource: Json, sources: dict[str, Json]) -> Json:
    """A resource in one Bundle with the Observations that it was derived from.

    The slices of derivedFrom differ by the profiles of their targets (LF-017), so the validator has to see them.
    """
    observations = dict(_observations([resource]))
    named = {each["reference"] for found in observations.values() for each in found.get("derivedFrom", ())}
    missing = [reference for reference in sorted(named - set(observations)) if reference in sources]
    if not missing:
        return resource
    bundle = resource
    if resource["resourceType"] == "Observation":
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": [_entry(BASE, resource)]}
    first = bundle["entry"][0]
    base = first["fullUrl"].rsplit("/", 2)[0]
    mode = {"search": {"mode": "include"}} if "search" in first else {}
    return {**bundle, "entry": [*bundle["entry"], *(_entry(base, sources[reference]) | mode for reference in missing)]}


def _entry(base: str, observation: Json) -> Json:
    return {"fullUrl": f"{base}/Observation/{observation['id']}", "resource": observation}
