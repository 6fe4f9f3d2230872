"""The names under which requests are measured: few, and without anything about anybody from a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.call import LONGEST, kind
from ddr.gateway.app import ROUTES
from ddr.http.measured import interaction


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/fhir/Observation", "Observation.search"),
        ("/fhir/DeviceMetric/_search", "DeviceMetric.search"),
        ("/fhir/Observation/$hddt-cgm-summary", "Observation.summary"),
        ("/fhir/Device/abc", "Device.read"),
        ("/fhir/Device/abc/_history/1", "Device.vread"),
        ("/fhir/metadata", "fhir.metadata"),
        ("/fhir/Patient/1", "fhir.other"),
        ("/oauth/token", "oauth.token"),
        ("/oauth/tokens", "other"),
        ("/.well-known/oauth-authorization-server", "oauth.metadata"),
        ("/me/data/glucose", "me"),
        ("/", "home"),
        ("/metrics", "metrics"),
    ],
)
def test_a_path_has_the_name_of_what_it_asks_for(path: str, name: str) -> None:
    assert interaction(path, "GET") == name


def test_every_operation_of_the_gateway_api_has_a_name() -> None:
    names = {interaction(route.path.replace("{", "").replace("}", ""), route.method) for route in ROUTES}
    assert "gateway.other" not in names and len(names) >= 10


@given(
    st.lists(st.sampled_from(["fhir", "Observation", "oauth", "gateway", "v1", "devices", "sensors", "me"]) | st.text())
)
def test_no_part_of_a_path_becomes_a_name_by_itself(parts: list[str]) -> None:
    name = interaction("/" + "/".join(parts), "GET")
    assert name.isascii() and len(name) < 40
    assert interaction("/" + "/".join([*parts, "7f3a-patient"]), "GET").find("7f3a") == -1


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("SELECT a FROM consent WHERE b = $1", "select consent"),
        ("\nWITH pair AS (\n  SELECT x FROM pairing_directory d)", "with pairing_directory"),
        ("INSERT INTO audit (a) VALUES ($1)", "insert audit"),
        ("-- why\nUPDATE patient SET a = 1", "update patient"),
        ("BEGIN;", "begin"),
        ("", ""),
    ],
)
def test_a_statement_is_known_by_verb_and_table(query: str, what: str) -> None:
    assert kind(query) == what


def test_the_kind_of_a_statement_is_found_once_unless_it_is_long() -> None:
    short, long = "SELECT a FROM consent", "SELECT a FROM consent WHERE b = " + "1" * LONGEST
    assert kind(short) is kind(short)
    assert kind(long) is not kind(long)
