"""The CapabilityStatement, generated from the MIV catalogue, the search grammar and what the server wires up.

HDDT fhir-api-metadata.md, FHIR R4 capabilitystatement.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ddr.fhir import device, device_metric
from ddr.fhir.negotiation import Format
from ddr.fhir.outages import DOCUMENTATION
from ddr.fhir.search.grammar import PARAMETERS, Parameter, includes, revincludes
from ddr.miv.model import MivCatalog

SECURITY_SERVICES = "http://terminology.hl7.org/CodeSystem/restful-security-service"

# Parameters of every search that are not SearchParameter resources; name → type and documentation.
GENERAL_PARAMETERS = {
    "_count": ("number", "Matches per page; the link 'next' leads to the next page"),
    "_sort": ("string", "Parameter to sort by, with '-' in front for descending order"),
    "_include": (
        "string",
        "Adds the resources that matches refer to; with :iterate also the resources that these refer to. [type]:*"
        " stands for every reference of a type, * for every reference of the searched type (with :iterate: all types)",
    ),
    "_revinclude": (
        "string",
        "Adds the resources that refer to matches; [type]:* stands for every reference of a type",
    ),
    "_has": ("string", "Selects resources by the properties of those that refer to them"),
    "_summary": ("token", "true: only the summary elements; count: only the total; also text, data and false"),
    "_elements": ("string", "Names of root elements; mandatory elements are always sent, included resources in full"),
    "_total": ("token", "none, estimate or accurate; the last two both give the exact total, which is the default"),
    "_format": ("token", "Format of the response: json, xml or a MIME type; takes precedence over Accept"),
    "_pretty": ("token", "true: indented output"),
}


POLLING = (
    "To poll, search with _lastUpdated=gt and the Bundle.meta.lastUpdated of the previous response, which is the same "
    "on all its pages; no overlap is needed. For each patient, meta.lastUpdated follows the order in which changes "
    "become visible: a resource that is not yet in a response later appears with a newer meta.lastUpdated than any "
    "that this response could show. This also holds for resources that become visible through a first Observation, a "
    "consent or a longer Historic-Data-Period."
)


@dataclass(frozen=True)
class Operation:
    """An operation of a resource type."""

    name: str  # without the dollar sign
    definition: str  # canonical of the OperationDefinition
    documentation: str


@dataclass(frozen=True)
class Server:
    """What the statement says about this instance; the HTTP side fills it from its settings and routes."""

    base: str  # FHIR base URL without trailing slash
    issuer: str  # of the authorization server
    software_version: str
    date: str  # FHIR dateTime: when this statement came into force
    interactions: Mapping[str, Sequence[str]]  # resource type → codes of FHIR TypeRestfulInteraction
    operations: Mapping[str, Sequence[Operation]] = field(default_factory=dict)  # resource type → operations
    conditional_read: Mapping[str, str] = field(default_factory=dict)  # resource type → ConditionalReadStatus


def capability_statement(catalog: MivCatalog, server: Server) -> dict[str, Any]:
    """The CapabilityStatement of this instance; `server.interactions` decides which resource types it has."""
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{server.base}/metadata",
        "name": "DeviceDataRecorder",
        "title": "HDDT Device Data Recorder",
        "status": "active",
        "date": server.date,
        "description": _description(catalog, server),
        "kind": "instance",
        "software": {"name": "HDDT Device Data Recorder", "version": server.software_version},
        "implementation": {"description": "FHIR resource server for DiGA (§ 374a SGB V)", "url": server.base},
        "fhirVersion": "4.0.1",
        "format": [fmt.value for fmt in Format] + ["json", "xml"],
        "rest": [_rest(catalog, server)],
    }


def _description(catalog: MivCatalog, server: Server) -> str:
    """The kinds of data with their terms as registered with BfArM, and where this document is public."""
    lines = [
        f"Without a client certificate, this document is available at {server.issuer}/fhir/metadata"
        f" and an OpenAPI 3.1 description at {server.issuer}/docs/openapi.json.",
        "Device data of one patient per access token, according to HDDT 1.0.1. Mandatory Interoperable Values:",
    ]
    for miv in catalog.mivs:
        terms = catalog.terms[miv.valueset]
        lines.append(
            f"- {miv.title} ({miv.valueset}): history {terms.historic_days} d, grace period {terms.grace_seconds} s, "
            f"delay from real time {terms.delay_seconds} s"
        )
    return "\n".join(lines)


def _rest(catalog: MivCatalog, server: Server) -> dict[str, Any]:
    profiles = {
        "Observation": list(dict.fromkeys(profile for miv in catalog.mivs for profile in miv.profiles)),
        "Device": [device.PROFILE],
        "DeviceMetric": [device_metric.PROFILE],
    }
    return {
        "mode": "server",
        "documentation": f"{POLLING}\n\n{DOCUMENTATION}",
        "security": _security(server.issuer),
        "resource": [_resource(name, profiles[name], server) for name in server.interactions],
        "searchParam": [
            {"name": name, "type": kind, "documentation": text} for name, (kind, text) in GENERAL_PARAMETERS.items()
        ],
    }


def _security(issuer: str) -> dict[str, Any]:
    return {
        "cors": False,
        "service": [
            {"coding": [{"system": SECURITY_SERVICES, "code": code}], "text": text}
            for code, text in (
                ("SMART-on-FHIR", "SMART scopes v2 restricted to the ValueSets of the Mandatory Interoperable Values"),
                ("OAuth", "OAuth 2.0 with pushed authorization requests and PKCE, bearer access tokens"),
                ("Certificates", "Mutual TLS with the client certificate that the DiGA has registered in the DiGA-VZ"),
            )
        ],
        "description": f"Authorization server metadata: {issuer}/.well-known/oauth-authorization-server",
    }


def _resource(name: str, profiles: Sequence[str], server: Server) -> dict[str, Any]:
    interactions = server.interactions[name]
    found: dict[str, Any] = {
        "type": name,
        "supportedProfile": list(profiles),
        "interaction": [{"code": code} for code in interactions],
        "versioning": "versioned" if "vread" in interactions else "no-version",
        "conditionalRead": server.conditional_read.get(name, "not-supported"),
        "searchInclude": list(includes(name)),
        "searchRevInclude": list(revincludes(name)),
        "searchParam": [_parameter(parameter) for parameter in PARAMETERS[name].values()],
        "operation": [
            {"name": operation.name, "definition": operation.definition, "documentation": operation.documentation}
            for operation in server.operations.get(name, ())
        ],
    }
    return {key: value for key, value in found.items() if value}  # FHIR forbids empty arrays


def _parameter(parameter: Parameter) -> dict[str, str]:
    text = parameter.documentation
    if parameter.modifiers:
        text += ". Modifiers: " + ", ".join(":" + modifier for modifier in parameter.modifiers)
    return {"name": parameter.name, "definition": parameter.definition, "type": parameter.type, "documentation": text}
