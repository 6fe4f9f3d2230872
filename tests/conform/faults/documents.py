"""Faults of what a recorder says about itself: both metadata documents, transport, status feed."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.conform.faults.fault import Edit, Fault, answers, heads, refusals, with_, without
from tests.conform.faults.tamper import PUSHED, Json, Tamper, answered, asks, replaced

OAUTH, STATEMENT = "oauth-authorization-server", "/fhir/metadata$"


def _rest(edit: Edit) -> Edit:
    return lambda body: edit(body["rest"][0])


def _types(edit: Callable[[list[Json]], object]) -> Edit:
    return _rest(lambda rest: edit(rest["resource"]))


def _observation(edit: Edit) -> Edit:
    return _types(lambda kinds: [edit(one) for one in kinds if one["type"] == "Observation"])


def _list(name: str, *more: str) -> Edit:
    return lambda body: body.update({name: [*body.get(name, ()), *more]})


def _without_certificate(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A client without a certificate may push authorization requests."""
    pushes = not tamper.client_id and asks(request, "/oauth/par$", "POST")
    return answered(request, 201, PUSHED) if pushes else tamper.pass_on(request)


def _of_functions(body: Json) -> None:
    """Neither the feed nor its present, planned and past notices say which functions and endpoints are concerned."""
    body["status"] = "demoted"  # with no disruption the feed may name no functions
    for one in (body, *body["events"], *body["planned"], *body["past"]):
        without("functions", "endpoints")(one)


def _as_json(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("/fhir/metadata"):
        request = httpx.Request("GET", request.url, headers={"accept": "application/fhir+json"})
    return tamper.pass_on(request)


def _other_statement(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    answer = tamper.pass_on(request)
    in_xml = "xml" in answer.headers.get("content-type", "") and asks(request, STATEMENT)
    return replaced(answer, answer.content.replace(b'"4.0.1"', b'"4.3.0"')) if in_xml else answer


DOCUMENTS = (
    Fault(
        "issuer-differs",
        "the issuer in the metadata differs by one character",
        answers(OAUTH, lambda body: body.update(issuer=body["issuer"] + "/")),
        "issuer-is-the-one-that-was-asked",
        ("redirect-names-the-issuer",),
    ),
    Fault(
        "member-missing",
        "the metadata lack service_documentation",
        answers(OAUTH, without("service_documentation")),
        "oauth-metadata-is-complete",
    ),
    Fault(
        "plain-offered",
        "PKCE plain is offered",
        answers(OAUTH, _list("code_challenge_methods_supported", "plain")),
        "oauth-metadata-fixed-values",
    ),
    Fault(
        "password-grant-offered",
        "the password grant is offered",
        answers(OAUTH, _list("grant_types_supported", "password")),
        "grants-offered",
    ),
    Fault(
        "request-objects-offered",
        "request objects are offered",
        answers(OAUTH, with_(request_parameter_supported=True, request_object_signing_alg_values_supported=["RS256"])),
        "request-objects-are-not-offered",
    ),
    Fault(
        "scope-invented",
        "a scope that HDDT does not define is offered",
        answers(OAUTH, _list("scopes_supported", "patient/Patient.rs")),
        "scopes-offered",
    ),
    Fault(
        "metadata-as-text",
        "the metadata are sent as text/plain",
        heads(OAUTH, content_type="text/plain"),
        "oauth-metadata-is-public",
    ),
    Fault(
        "plain-endpoint",
        "an endpoint has an http address",
        answers(
            OAUTH, lambda body: body.update(revocation_endpoint=body["revocation_endpoint"].replace("https", "http"))
        ),
        "addresses-are-https",
        ("revoking-needs-the-own-certificate", "revoking-the-unknown-is-ok"),
    ),
    Fault(
        "statement-needs-a-token",
        "the CapabilityStatement is answered with 401",
        heads(STATEMENT, status=401),
        "capability-statement-is-public",
        ("metadata-in-xml",),
    ),
    Fault(
        "other-fhir-version",
        "the CapabilityStatement says FHIR 4.3.0",
        answers(STATEMENT, with_(fhirVersion="4.3.0")),
        "fhir-version-and-types",
        ("capability-statement-is-valid",),
    ),
    Fault(
        "statement-with-more",
        "the CapabilityStatement has an element that FHIR does not know",
        answers(STATEMENT, with_(hddtVersion="1.0.1")),
        "capability-statement-is-valid",
        ("metadata-in-xml",),
    ),
    Fault(
        "statement-differs-in-xml",
        "the CapabilityStatement in XML says FHIR 4.3.0",
        _other_statement,
        "metadata-in-xml",
    ),
    Fault(
        "statement-without-status",
        "the CapabilityStatement has no status",
        answers(STATEMENT, without("status")),
        "capability-statement-is-valid",
    ),
    Fault("xml-not-declared", "XML is not declared", answers(STATEMENT, with_(format=["json"])), "formats-declared"),
    Fault(
        "parameter-not-declared",
        "the search parameter date is not declared",
        answers(
            STATEMENT,
            _observation(
                lambda one: one.update(searchParam=[each for each in one["searchParam"] if each["name"] != "date"])
            ),
        ),
        "parameters-declared",
    ),
    Fault(
        "read-not-declared",
        "read is not declared",
        answers(
            STATEMENT,
            _types(
                lambda kinds: (
                    [
                        one.update(interaction=[each for each in one["interaction"] if each["code"] != "read"])
                        for one in kinds
                    ]
                    and None
                )
            ),
        ),
        "interactions-declared",
    ),
    Fault(
        "create-declared",
        "create is declared",
        answers(STATEMENT, _observation(lambda one: one["interaction"].append({"code": "create"}))),
        "no-writing-declared",
    ),
    Fault(
        "summary-not-declared",
        "the operation hddt-cgm-summary is not declared",
        answers(STATEMENT, _rest(lambda rest: [one.pop("operation", None) for one in (rest, *rest["resource"])])),
        "summary-declared",
    ),
    Fault(
        "patient-declared",
        "Patient is declared",
        answers(STATEMENT, _types(lambda kinds: kinds.append({"type": "Patient", "interaction": [{"code": "read"}]}))),
        "no-patient-declared",
        ("fhir-version-and-types",),
    ),
    Fault(
        "no-certificate-asked",
        "a client without a certificate may push authorization requests",
        _without_certificate,
        "no-certificate-no-service",
    ),
    Fault(
        "status-without-functions",
        "the status feed names no functions",
        answers("/status", _of_functions),
        "status-feed",
    ),
    Fault(
        "statement-is-json-always",
        "the CapabilityStatement is always JSON, whatever Accept asks for",
        _as_json,
        "metadata-in-xml",
        ("other-formats-are-refused",),
    ),
    Fault(
        "not-acceptable-is-400",
        "an unsupported Accept header is answered with 400",
        refusals("/fhir/", lambda answer: replaced(answer, status=400), 406),
        "other-formats-are-refused",
        ("fhir-version-is-understood",),
    ),
)
