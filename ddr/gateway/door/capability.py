"""What the FHIR door takes, as a CapabilityStatement (FHIR R4 http.html#capabilities)."""

from __future__ import annotations

from typing import Any

from ddr import __version__
from ddr.fhir.negotiation import Format, error_format, negotiate
from ddr.fhir.outcome import FhirError
from ddr.fhir.representation import render
from ddr.http.asgi import NO_STORE, Reply, Scope, filled_query, headers
from ddr.http.core import Core

IN_FORCE = "2026-12-01"  # since when the door has been as this version of the program describes it
TAKEN = {
    "Device": "Registers a device",
    "DeviceMetric": "Registers a sensor, and its calibrations",
    "Observation": "Stores a measurement, or readings of a series",
}


def get_metadata(core: Core, scope: Scope) -> Reply:
    """The CapabilityStatement in the requested representation, or 406 or 415. Clients read it without a token."""
    sent, wanted = headers(scope), filled_query(scope)
    try:
        status, content, fmt = 200, statement(core.settings.gateway_base_url), negotiate(sent, wanted)
    except FhirError as error:
        status, content, fmt = error.status, error.resource(), error_format(sent, wanted)
    return Reply(status, render(content, fmt), fmt.content_type, NO_STORE)


def statement(gateway_base: str) -> dict[str, Any]:
    """The CapabilityStatement; `gateway_base` is the address of the gateway listener, without trailing slash."""
    api, base = f"{gateway_base}/gateway/v1/openapi.json", f"{gateway_base}/gateway/v1/fhir"
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{base}/metadata",
        "name": "DeviceDataRecorderGateway",
        "title": "HDDT Device Data Recorder, FHIR door for gateways",
        "status": "active",
        "date": IN_FORCE,
        "description": "Takes Bundles of HL7's Personal Health Device guide. Nothing can be read here."
        f" An OpenAPI 3.1 description is at {api}.",
        "kind": "instance",
        "software": {"name": "HDDT Device Data Recorder", "version": __version__},
        "implementation": {"description": "FHIR door for personal health gateways", "url": base},
        "fhirVersion": "4.0.1",
        "format": [fmt.value for fmt in Format] + ["json", "xml"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "cors": False,
                    "description": "Authorization: Bearer with the token of a patient's gateway, or the registered"
                    " client certificate of a cloud bridge together with Patient-Account",
                },
                "resource": [
                    {"type": name, "documentation": f"{text}, as an entry of a Bundle"} for name, text in TAKEN.items()
                ],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }
