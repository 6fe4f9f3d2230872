"""The texts, codes and statuses of HDDT error-codes.md, one row per scenario."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.fhir import outcome
from ddr.fhir.negotiation import Format
from ddr.fhir.outages import Outage
from ddr.fhir.outcome import FhirError
from ddr.fhir.representation import render
from tests.fhir.validity import assert_valid

FORMATS = "Supported formats: application/fhir+json, application/fhir+xml"

DIAGNOSTICS = [
    (outcome.unknown_parameter("foo"), 400, "processing", "Unknown search parameter foo"),
    (
        outcome.unknown_parameter("foo", ["code", "date"]),
        400,
        "processing",
        "Unknown search parameter foo. Supported search parameters: code, date",
    ),
    (outcome.invalid_date("xx2025"), 400, "processing", "Invalid date/time format or date range: xx2025"),
    (
        outcome.invalid_include("_include", "Observation:foo"),
        400,
        "processing",
        "Invalid _include parameter value: Observation:foo",
    ),
    (outcome.not_known("Device/1"), 404, "processing", "Resource Device/1 is not known"),
    (
        outcome.version_not_valid("999", "DeviceMetric/1"),
        404,
        "processing",
        "Version 999 is not valid for resource DeviceMetric/1.",
    ),
    (outcome.deleted(), 410, "processing", "Resource was deleted"),
    (outcome.not_acceptable(), 406, "not-supported", f"Requested format not supported. {FORMATS}"),
    (
        outcome.version_not_supported(),
        406,
        "not-supported",
        "FHIR version not supported. This server supports FHIR R4 (version 4.0.1)",
    ),
    (outcome.unsupported_media_type(), 415, "not-supported", f"Content-Type not supported. {FORMATS}"),
    (outcome.throttled(30, 900), 429, "throttled", "Rate limit exceeded. Please retry after the specified time."),
    (outcome.internal_error(), 500, "exception", "Internal error of the Device Data Recorder"),
    (outcome.unauthorized("The access token expired"), 401, "login", "The access token expired"),
    (outcome.unauthorized(), 401, "login", "An access token is required"),
    (outcome.body_refused(413, "", {}, 10), 413, "too-long", "The request body is larger than 10 bytes"),
    (outcome.method_not_allowed(["GET"]), 405, "not-supported", "Method not allowed. Allowed methods: GET"),
    (outcome.unknown_route("/x"), 404, "not-supported", "Unknown path /x"),
]

DETAILS = [
    (outcome.malformed(), 400, "invalid", "MSG_BAD_SYNTAX", "The request is malformed."),
    (
        outcome.operation_parameter_unknown("foo"),
        400,
        "invalid",
        "MSG_PARAM_UNKNOWN",
        "Unknown input parameter 'foo'.",
    ),
    (
        outcome.operation_parameter_invalid("Invalid date format in effectivePeriodStart."),
        400,
        "invalid",
        "MSG_PARAM_INVALID",
        "Invalid date format in effectivePeriodStart.",
    ),
    (outcome.operation_no_match("No data."), 404, "not-found", "MSG_NO_MATCH", "No data."),
]


def only_issue(resource: dict[str, Any]) -> dict[str, Any]:
    assert_valid(resource)
    (issue,) = resource["issue"]
    return dict(issue)


@pytest.mark.parametrize(("error", "status", "code", "diagnostics"), DIAGNOSTICS)
def test_error_with_diagnostics(error: FhirError, status: int, code: str, diagnostics: str) -> None:
    assert error.status == status
    assert only_issue(error.resource()) == {"severity": "error", "code": code, "diagnostics": diagnostics}


@pytest.mark.parametrize(("error", "status", "code", "details", "text"), DETAILS)
def test_error_with_details(error: FhirError, status: int, code: str, details: str, text: str) -> None:
    assert error.status == status
    coding = {"system": "http://terminology.hl7.org/CodeSystem/operation-outcome", "code": details}
    assert only_issue(error.resource()) == {
        "severity": "error",
        "code": code,
        "details": {"coding": [coding], "text": text},
    }


OUTAGES = [
    (outcome.overloaded(5), "throttled", "temporary-disruption", "5"),
    (
        outcome.unavailable("The database is busy", 2, Outage.TEMPORARY_DISRUPTION),
        "transient",
        "temporary-disruption",
        "2",
    ),
    (outcome.unavailable("The database is away", 60), "transient", "dependency-failed", "60"),
    (outcome.maintenance("Until noon", 600), "transient", "planned-maintenance", "600"),
]


@pytest.mark.parametrize(("error", "code", "outage", "seconds"), OUTAGES)
def test_why_there_is_no_service_is_told_in_body_and_header(
    error: FhirError, code: str, outage: str, seconds: str
) -> None:
    issue = only_issue(error.resource())
    (coding,) = issue["details"]["coding"]
    assert (error.status, issue["code"], coding["code"]) == (503, code, outage)
    assert (error.headers["Outage-Cause"], error.headers["Retry-After"]) == (outage, seconds)
    assert error.headers.get("Planned-Maintenance") == ("true" if outage == "planned-maintenance" else None)


def test_outside_history_names_the_period() -> None:
    error = outcome.outside_history("Observation/1", 30)
    assert error.status == 404
    assert "historic period" in (error.diagnostics or "") and "30 days" in (error.diagnostics or "")


@pytest.mark.parametrize(
    ("resource", "diagnostics"),
    [
        (outcome.code_not_in_valueset("8480-6", "http://v"), "Code 8480-6 not in ValueSet http://v"),
        (
            outcome.outside_historic_range(),
            "Search includes a time range which is outside the historical time range of this service. "
            "Potentially no matches found.",
        ),
    ],
)
def test_warnings_are_of_processing_and_have_no_code_of_details(resource: dict[str, Any], diagnostics: str) -> None:
    assert only_issue(resource) == {"severity": "warning", "code": "processing", "diagnostics": diagnostics}


@pytest.mark.parametrize("name", ["subject", "patient"])
def test_who_the_patient_is_cannot_be_asked_for(name: str) -> None:
    assert outcome.implicit_patient(name).status == 400


def test_errors_bring_the_headers_of_their_rfcs() -> None:
    assert outcome.unauthorized().headers == {"WWW-Authenticate": 'Bearer realm="fhir"'}
    assert outcome.unauthorized("Invalid token issuer").headers == {
        "WWW-Authenticate": 'Bearer error="invalid_token", error_description="Invalid token issuer"'
    }
    assert outcome.throttled(0, 900).headers == {
        "Retry-After": "1",
        "RateLimit": '"grace-period";r=0;t=1',
        "RateLimit-Policy": '"grace-period";q=1;w=900',
    }
    assert outcome.method_not_allowed(["GET", "POST"]).headers == {"Allow": "GET, POST"}


def test_callers_text_cannot_break_the_answer() -> None:
    resource = outcome.unknown_parameter("a\x00\ud800b" + "x" * 5000).resource()
    for fmt in Format:
        assert len(render(resource, fmt)) < 1000
    assert "a\ufffd\ufffdb" in only_issue(resource)["diagnostics"]
