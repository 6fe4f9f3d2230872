"""The CapabilityStatement: valid R4 and equal to what the search grammar offers."""

from __future__ import annotations

from typing import Any

from ddr.fhir.capability import GENERAL_PARAMETERS, Operation, Server, capability_statement
from ddr.fhir.search.grammar import CONTROLS, PARAMETERS, REPRESENTATION
from tests.fhir.rows import CATALOG
from tests.fhir.validity import assert_valid

SUMMARY = Operation(
    "hddt-cgm-summary", "https://gematik.de/fhir/hddt/OperationDefinition/hddt-cgm-summary-operation", "Summary"
)
SERVER = Server(
    base="https://localhost:8443/fhir",
    issuer="https://localhost:8444",
    software_version="0.1.0",
    date="2026-11-22",
    interactions={
        "Observation": ("read", "vread", "search-type"),
        "DeviceMetric": ("read", "vread", "search-type"),
        "Device": ("read", "search-type"),
    },
    operations={"Observation": (SUMMARY,)},
)


def statement() -> dict[str, Any]:
    return capability_statement(CATALOG, SERVER)


def resource_entries() -> dict[str, dict[str, Any]]:
    return {entry["type"]: entry for entry in statement()["rest"][0]["resource"]}


def test_valid_and_r4() -> None:
    found = statement()
    assert_valid(found)
    assert (found["fhirVersion"], found["kind"], found["status"]) == ("4.0.1", "instance", "active")
    assert {"application/fhir+json", "application/fhir+xml", "json", "xml"} == set(found["format"])
    assert found["rest"][0]["mode"] == "server"
    assert found["implementation"]["url"] == SERVER.base


def test_resources_interactions_and_versioning() -> None:
    entries = resource_entries()
    assert set(entries) == {"Observation", "Device", "DeviceMetric"}
    assert [item["code"] for item in entries["Device"]["interaction"]] == ["read", "search-type"]
    assert {name: entry["versioning"] for name, entry in entries.items()} == {
        "Observation": "versioned",
        "DeviceMetric": "versioned",
        "Device": "no-version",
    }


def test_profiles_are_those_of_the_catalogue() -> None:
    profiles = resource_entries()["Observation"]["supportedProfile"]
    assert len(profiles) == len(set(profiles)) == 6
    assert {code.profile for miv in CATALOG.mivs for code in miv.codes} == set(profiles)


def test_search_parameters_are_those_of_the_grammar() -> None:
    for name, entry in resource_entries().items():
        assert [parameter["name"] for parameter in entry["searchParam"]] == list(PARAMETERS[name])
    general = {parameter["name"] for parameter in statement()["rest"][0]["searchParam"]}
    assert general == set(GENERAL_PARAMETERS) == CONTROLS | REPRESENTATION


def test_includes() -> None:
    includes = resource_entries()["Observation"]["searchInclude"]
    assert {"Observation:device", "DeviceMetric:source"} <= set(includes)


def test_operations_only_where_there_are_some() -> None:
    entries = resource_entries()
    assert entries["Observation"]["operation"][0]["name"] == "hddt-cgm-summary"
    assert "operation" not in entries["Device"]


def test_security_names_the_authorization_server() -> None:
    security = statement()["rest"][0]["security"]
    assert "https://localhost:8444/.well-known/oauth-authorization-server" in security["description"]
    assert {"SMART-on-FHIR", "OAuth", "Certificates"} == {
        service["coding"][0]["code"] for service in security["service"]
    }


def test_terms_of_every_miv_are_published() -> None:
    assert all(miv.valueset in statement()["description"] for miv in CATALOG.mivs)
