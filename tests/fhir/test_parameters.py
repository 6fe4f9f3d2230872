"""Input parameters of operations, from resources and queries, and what is rejected."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.fhir.negotiation import Format
from ddr.fhir.outcome import FhirError
from ddr.fhir.parameters import query_inputs, resource_inputs
from ddr.fhir.representation import parse

DECLARED = {"start": "dateTime", "related": "boolean"}


def inputs(*parameters: Any) -> dict[str, Any]:
    return resource_inputs({"resourceType": "Parameters", "parameter": list(parameters)}, DECLARED)


@pytest.mark.parametrize("element", ["valueDateTime", "valueDate", "valueInstant"])
@pytest.mark.parametrize(
    "text", ["2025", "2025-08", "2025-08-01", "2025-08-01T00:00:00Z", "2025-08-01T00:00:00.5+02:00"]
)
def test_every_precision_of_a_date_time(element: str, text: str) -> None:
    assert inputs({"name": "start", element: text}) == {"start": text}
    assert query_inputs([("start", text)], DECLARED) == {"start": text}


def test_booleans_and_none_at_all() -> None:
    assert inputs({"name": "related", "valueBoolean": False, "id": "x"}) == {"related": False}
    assert query_inputs([("related", "true")], DECLARED) == {"related": True}
    assert resource_inputs({"resourceType": "Parameters"}, DECLARED) == {}


def test_extensions_are_passed_over_unless_they_modify() -> None:
    extension = [{"url": "https://example.org/why", "valueString": "x"}]
    related = {"name": "related", "valueBoolean": True}
    assert inputs(related | {"extension": extension, "_valueBoolean": {"extension": extension}}) == {"related": True}
    with pytest.raises(FhirError):
        inputs(related | {"modifierExtension": extension})
    with pytest.raises(FhirError):
        inputs({"name": "related", "extension": extension})


def test_a_resource_in_xml_gives_the_same_inputs() -> None:
    body = b"""<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="related"/><valueBoolean value="true"/>
        </parameter><parameter><name value="start"/><valueDateTime value="2025-08-01"/></parameter></Parameters>"""
    assert resource_inputs(parse(body, Format.XML), DECLARED) == {"related": True, "start": "2025-08-01"}


def test_a_plus_that_was_not_escaped() -> None:
    assert query_inputs([("start", "2025-08-01T00:00:00 02:00")], DECLARED) == {"start": "2025-08-01T00:00:00+02:00"}


def refusal(*parameters: Any) -> tuple[str | None, str | None]:
    with pytest.raises(FhirError) as caught:
        inputs(*parameters)
    assert (caught.value.status, caught.value.code, caught.value.diagnostics) == (
        400,
        "invalid",
        caught.value.diagnostics if caught.value.details_code == "MSG_BAD_SYNTAX" else None,
    )
    return caught.value.details_code, caught.value.text


def test_an_unknown_input_is_named() -> None:
    assert refusal({"name": "foo", "valueString": "x"}) == ("MSG_PARAM_UNKNOWN", "Unknown input parameter 'foo'.")


@pytest.mark.parametrize(
    "value",
    [
        {"valueDateTime": "yesterday"},
        {"valueDateTime": "2025-02-30"},
        {"valueDateTime": "2025-08-01T00:00"},
        {"valueDateTime": "2025-08-01T00:00:00"},
        {"valueDateTime": 2025},
        {"valueDateTime": None},
        {"valueString": "2025-08-01"},
        {"valueBoolean": True},
        {"valueDateTime": "2025-08-01", "valueDate": "2025-08-01"},
        {"part": [{"name": "a", "valueString": "b"}]},
        {"resource": {"resourceType": "Device"}},
    ],
)
def test_bad_dates(value: dict[str, Any]) -> None:
    assert refusal({"name": "start", **value}) == ("MSG_PARAM_INVALID", "Invalid date format in start.")


@pytest.mark.parametrize("value", [{"valueBoolean": "true"}, {"valueBoolean": 1}, {"valueString": "true"}])
def test_bad_booleans(value: dict[str, Any]) -> None:
    assert refusal({"name": "related", **value}) == ("MSG_PARAM_INVALID", "Invalid boolean value in related.")


def test_an_input_occurs_once() -> None:
    twice = {"name": "related", "valueBoolean": True}
    assert refusal(twice, twice) == ("MSG_PARAM_INVALID", "Parameter related is given more than once.")


@pytest.mark.parametrize(
    "parameter", [{}, {"valueBoolean": True}, {"name": ""}, {"name": 3}, "related", {"name": "related"}]
)
def test_a_malformed_parameter_is_bad_syntax(parameter: Any) -> None:
    assert refusal(parameter) == ("MSG_BAD_SYNTAX", "The request is malformed.")


@pytest.mark.parametrize("resource", [{"resourceType": "Bundle"}, {"resourceType": "Parameters", "parameter": {}}])
def test_another_resource_than_parameters_is_bad_syntax(resource: dict[str, Any]) -> None:
    with pytest.raises(FhirError) as caught:
        resource_inputs(resource, DECLARED)
    assert caught.value.details_code == "MSG_BAD_SYNTAX"


@pytest.mark.parametrize("text", ["1", "True", "", "yes"])
def test_bad_booleans_in_a_query(text: str) -> None:
    with pytest.raises(FhirError) as caught:
        query_inputs([("related", text)], DECLARED)
    assert caught.value.details_code == "MSG_PARAM_INVALID"
