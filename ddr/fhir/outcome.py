"""OperationOutcome and the errors of the FHIR interface, with the texts that HDDT error-codes.md prescribes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ddr.fhir.characters import FORBIDDEN
from ddr.fhir.outages import HEADER, LEFT, SYSTEM, Outage
from ddr.ratelimit import GRACE_PERIOD, LOAD, limited

OUTCOME_CODES = "http://terminology.hl7.org/CodeSystem/operation-outcome"
FORMATS = "Supported formats: application/fhir+json, application/fhir+xml"
ECHO_LIMIT = 200


@dataclass(eq=False)
class FhirError(Exception):
    """A request that is answered with an OperationOutcome; may be raised anywhere below the FHIR interface.

    `code` is a FHIR IssueType, `details_code` a code of `details_system`; `headers` go into the answer.
    """

    status: int
    code: str
    diagnostics: str | None = None
    details_code: str | None = None
    text: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    details_system: str = OUTCOME_CODES

    def resource(self, request_id: str | None = None) -> dict[str, Any]:
        """The OperationOutcome of this error, with `request_id`, a FHIR id, as its id.

        For a failure of ours, the text also contains it, so that readers have something to refer to.
        """
        diagnostics = self.diagnostics
        if request_id and diagnostics and self.status == 500:
            diagnostics += f" (request {request_id})"
        found = outcome("error", self.code, diagnostics, self.details_code, self.text, self.details_system)
        return (
            {"resourceType": found["resourceType"], "id": request_id, "issue": found["issue"]} if request_id else found
        )


def outcome(
    severity: str,
    code: str,
    diagnostics: str | None = None,
    details_code: str | None = None,
    text: str | None = None,
    details_system: str = OUTCOME_CODES,
) -> dict[str, Any]:
    """An OperationOutcome with one issue (FHIR R4 operationoutcome.html)."""
    issue: dict[str, Any] = {"severity": severity, "code": code}
    details: dict[str, Any] = {}
    if details_code:
        details["coding"] = [{"system": details_system, "code": details_code}]
    if text:
        details["text"] = printable(text)
    if details:
        issue["details"] = details
    if diagnostics:
        issue["diagnostics"] = printable(diagnostics)
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def printable(text: str) -> str:
    """`text` with every character that FHIR strings may not contain replaced by U+FFFD."""
    return FORBIDDEN.sub("\ufffd", text)


def echo(text: str) -> str:
    """A caller's text, shortened for use inside an error message."""
    return text if len(text) <= ECHO_LIMIT else text[:ECHO_LIMIT] + "…"


# --- 400 -------------------------------------------------------------------------------------------------------------


def unknown_parameter(name: str, supported: Iterable[str] = ()) -> FhirError:
    """400: a search parameter that the resource type does not have; `supported` is listed when given."""
    names = ", ".join(supported)
    hint = f". Supported search parameters: {names}" if names else ""
    return FhirError(400, "processing", f"Unknown search parameter {echo(name)}{hint}")


def invalid_date(text: str) -> FhirError:
    """400: malformed date, unknown prefix, or an end before the start."""
    return FhirError(400, "processing", f"Invalid date/time format or date range: {echo(text)}")


def invalid_include(parameter: str, value: str) -> FhirError:
    """400: `parameter` (_include, _include:iterate, _revinclude …) names a reference that does not exist here."""
    return FhirError(400, "processing", f"Invalid {parameter} parameter value: {echo(value)}")


def invalid_value(parameter: str, value: str) -> FhirError:
    """400: any other search parameter with a value that cannot be understood."""
    return FhirError(400, "processing", f"Invalid value of search parameter {parameter}: {echo(value)}")


def too_costly(limit: int, counted: str = "") -> FhirError:
    """400: a search with more than `limit` values; `counted` says what counts as more than one."""
    told = f" ({counted})" if counted else ""
    return FhirError(
        400, "too-costly", f"The search has more than {limit} values{told}; split it into several searches"
    )


def implicit_patient(parameter: str) -> FhirError:
    """400: `subject` or `patient`, which only the access token decides (HDDT fhir-api-observation.md)."""
    text = f"Search parameter {parameter} must not be given: the access token determines the patient"
    return FhirError(400, "processing", text)


def malformed(diagnostics: str | None = None) -> FhirError:
    """400: a body or query that cannot be read at all."""
    return FhirError(400, "invalid", diagnostics, "MSG_BAD_SYNTAX", "The request is malformed.")


# --- 401 -------------------------------------------------------------------------------------------------------------


def unauthorized(description: str | None = None) -> FhirError:
    """401 with the challenge of RFC 6750 section 3; without `description` when no credentials were sent.

    In that case it names the realm, because the scheme must not stand alone.
    """
    if description is None:
        headers = {"WWW-Authenticate": 'Bearer realm="fhir"'}
        return FhirError(401, "login", "An access token is required", headers=headers)
    challenge = f'Bearer error="invalid_token", error_description="{description}"'
    return FhirError(401, "login", description, headers={"WWW-Authenticate": challenge})


# --- 404, 405, 410, 413 ----------------------------------------------------------------------------------------------


def not_known(reference: str) -> FhirError:
    """404: unknown, foreign or out of scope, which look the same; `reference` is "<Type>/<id>" as requested."""
    return FhirError(404, "processing", f"Resource {echo(reference)} is not known")


def version_not_valid(version: str, reference: str) -> FhirError:
    """404: vread of a version that the resource never had."""
    return FhirError(404, "processing", f"Version {echo(version)} is not valid for resource {echo(reference)}.")


def outside_history(reference: str, days: int) -> FhirError:
    """404: the resource is older than the Historic-Data-Period of its MIV."""
    text = f"Resource {echo(reference)} is outside the historic period of this service, which is {days} days"
    return FhirError(404, "processing", text)


def unknown_route(path: str) -> FhirError:
    """404: nothing is served at this path."""
    return FhirError(404, "not-supported", f"Unknown path {echo(path)}")


def method_not_allowed(allowed: Iterable[str]) -> FhirError:
    """405 with the Allow header."""
    methods = ", ".join(allowed)
    return FhirError(
        405, "not-supported", f"Method not allowed. Allowed methods: {methods}", headers={"Allow": methods}
    )


def deleted() -> FhirError:
    """410: the resource was deleted within its historic period."""
    return FhirError(410, "processing", "Resource was deleted")


def recorder_has_left() -> FhirError:
    """410: the recorder has left HDDT, and so have all its resources (CON-016)."""
    return FhirError(410, "not-supported", LEFT)


def too_much(diagnostics: str) -> FhirError:
    """413: the document has more parts or levels than are accepted; `diagnostics` says which bound it exceeds."""
    return FhirError(413, "too-costly", diagnostics)


# --- 406, 415 --------------------------------------------------------------------------------------------------------


def not_acceptable() -> FhirError:
    """406: Accept or _format asks for a representation other than FHIR JSON or XML."""
    return FhirError(406, "not-supported", f"Requested format not supported. {FORMATS}")


def version_not_supported() -> FhirError:
    """406: the MIME parameter fhirVersion is not 4.0."""
    return FhirError(406, "not-supported", "FHIR version not supported. This server supports FHIR R4 (version 4.0.1)")


def unsupported_media_type() -> FhirError:
    """415: Content-Type is not FHIR JSON or XML."""
    return FhirError(415, "not-supported", f"Content-Type not supported. {FORMATS}")


def body_refused(status: int, diagnostics: str, headers: Mapping[str, str], limit: int) -> FhirError:
    """A request body that could not be read (ddr.http.body). 408: it did not arrive in time (RFC 9110 section 15.5.9);
    413: it is longer than `limit` bytes; 415: its Content-Encoding is not supported, and `headers` name those that are;
    400: anything else."""
    match status:
        case 408:
            return FhirError(408, "timeout", diagnostics)
        case 413:
            return FhirError(413, "too-long", f"The request body is larger than {limit} bytes")
        case 415:
            return FhirError(415, "not-supported", diagnostics, headers=dict(headers))
        case _:
            return malformed(diagnostics)


# --- 429, 500, 503 ---------------------------------------------------------------------------------------------------


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(max(1, seconds))}


def throttled(retry_seconds: int, grace_seconds: int) -> FhirError:
    """429: requested again within the Grace-Period, which lasts `grace_seconds`."""
    text = "Rate limit exceeded. Please retry after the specified time."
    headers = _retry(retry_seconds) | limited(GRACE_PERIOD, retry_seconds, 1, grace_seconds)
    return FhirError(429, "throttled", text, headers=headers)


def internal_error() -> FhirError:
    """500: a failure on our side; reveals nothing about the patient or the program."""
    return FhirError(500, "exception", "Internal error of the Device Data Recorder")


def overloaded(retry_seconds: int) -> FhirError:
    """503: admission control turned the request away."""
    text = "Service temporarily unavailable due to rate limiting"
    headers = _retry(retry_seconds) | limited(LOAD, retry_seconds)
    return _outage(Outage.TEMPORARY_DISRUPTION, "throttled", text, headers)


def unavailable(diagnostics: str, retry_seconds: int, outage: Outage = Outage.DEPENDENCY_FAILED) -> FhirError:
    """503 transient: something that the recorder depends on fails; `diagnostics` says what."""
    return _outage(outage, "transient", diagnostics, _retry(retry_seconds))


def maintenance(diagnostics: str, retry_seconds: int) -> FhirError:
    """503 transient with its own code and header, so that nobody mistakes it for a failure (OPS-006, OPS-027)."""
    headers = {**_retry(retry_seconds), "Planned-Maintenance": "true"}
    return _outage(Outage.PLANNED_MAINTENANCE, "transient", diagnostics, headers)


def _outage(outage: Outage, code: str, diagnostics: str, headers: dict[str, str]) -> FhirError:
    return FhirError(503, code, diagnostics, outage, headers={**headers, HEADER: outage}, details_system=SYSTEM)


# --- errors of operations (HDDT measurement-cgm.md, OperationOutcome examples of $hddt-cgm-summary) ------------------


def operation_parameter_unknown(name: str) -> FhirError:
    """400: an input parameter that the operation does not have."""
    return FhirError(400, "invalid", None, "MSG_PARAM_UNKNOWN", f"Unknown input parameter '{echo(name)}'.")


def operation_parameter_invalid(text: str) -> FhirError:
    """400: an input parameter with a bad value; `text` says which ("Invalid date format in effectivePeriodStart.")."""
    return FhirError(400, "invalid", None, "MSG_PARAM_INVALID", text)


def operation_no_match(text: str) -> FhirError:
    """404: the operation has nothing to report."""
    return FhirError(404, "not-found", None, "MSG_NO_MATCH", text)


# --- warnings inside a searchset -------------------------------------------------------------------------------------


def code_not_in_valueset(code: str, valueset: str) -> dict[str, Any]:
    """A requested code that the granted scopes do not cover."""
    return outcome("warning", "processing", f"Code {echo(code)} not in ValueSet {valueset}")


def outside_historic_range() -> dict[str, Any]:
    """A search that only covers expired history."""
    text = (
        "Search includes a time range which is outside the historical time range of this service. "
        "Potentially no matches found."
    )
    return outcome("warning", "processing", text)
