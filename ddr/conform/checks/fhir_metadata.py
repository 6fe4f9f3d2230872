"""The CapabilityStatement: public, valid, and true to HDDT (fhir-api-metadata.md)."""

from __future__ import annotations

from ddr.conform.check import check
from ddr.conform.exchange import Json
from ddr.conform.kit import Kit
from ddr.conform.laws import structure
from ddr.conform.target import MIV
from ddr.conform.verdict import NotApplicable, expect

TYPES = ("Observation", "Device", "DeviceMetric")
MANDATORY = {
    "Observation": {"code", "date", "_id"},
    "Device": {"device-name", "type", "manufacturer", "_id"},
    "DeviceMetric": {"_id"},
}
OF_MIV = {
    "blood-glucose-measurement": {"value-quantity"},
    "lung-function-testing": {"value-quantity"},
    "blood-pressure-value": {"component-code", "component-value-quantity"},
    "continuous-glucose-measurement": {"_lastUpdated"},
}
WRITES = {"create", "update", "patch", "delete"}


def served(kit: Kit) -> list[str]:
    """The MIVs that the authorization server offers, by the last part of their canonical URLs."""
    scopes = kit.server_metadata.json.get("scopes_supported") or ()
    return [scope.rpartition(MIV)[2] for scope in scopes if MIV in scope]


@check("RS-004")
def capability_statement_is_public(kit: Kit) -> None:
    """The CapabilityStatement is served without certificate and token."""
    answer = kit.capability_answer
    expect(answer.status == 200, "not answered with 200", answer)
    expect(answer.json.get("resourceType") == "CapabilityStatement", "no CapabilityStatement in JSON", answer)


@check("RS-005")
def fhir_version_and_types(kit: Kit) -> None:
    """The statement names FHIR 4.0.1 and Observation, Device and DeviceMetric."""
    found, shown = kit.capability, kit.capability_answer
    expect(found.get("fhirVersion") == "4.0.1", f"fhirVersion is {found.get('fhirVersion')}", shown)
    missing = [kind for kind in TYPES if not kit.declared(kind)]
    expect(not missing, f"resource types missing: {', '.join(missing)}", shown)


@check("RS-044")
def capability_statement_is_valid(kit: Kit) -> None:
    """The statement is valid FHIR R4: known elements, status, date, kind instance, formats, rest in mode server."""
    found, shown = kit.capability, kit.capability_answer
    missing = [name for name in ("status", "date", "kind", "format", "rest") if not found.get(name)]
    expect(not missing, f"missing: {', '.join(missing)}", shown)
    expect(
        found["kind"] == "instance",
        f"kind is {found['kind']}, not instance, although the statement describes a running server",
        shown,
    )
    expect([rest.get("mode") for rest in found["rest"]] == ["server"], "rest.mode is not server", shown)
    wrong = structure.problems(found)
    expect(not wrong, wrong[0] if wrong else "", shown)


@check("RS-007")
def formats_declared(kit: Kit) -> None:
    """The statement names JSON and XML."""
    formats = [str(one).partition(";")[0].strip() for one in kit.capability.get("format") or ()]
    known = {one.removeprefix("application/").removeprefix("fhir+") for one in formats}
    expect({"json", "xml"} <= known, f"format is {', '.join(sorted(formats))}", kit.capability_answer)


@check("RS-006", "RS-035")
def parameters_declared(kit: Kit) -> None:
    """The statement declares every search parameter that HDDT demands for the MIVs that are served."""
    rest: Json = next(iter(kit.capability.get("rest") or ()), {})
    general = {one.get("name") for one in rest.get("searchParam") or ()}
    for kind, names in MANDATORY.items():
        wanted = set(names)
        if kind == "Observation":
            wanted |= {name for miv in served(kit) for name in OF_MIV.get(miv, ())}
        missing = wanted - set(kit.parameters(kind)) - general
        expect(not missing, f"{kind}: {', '.join(sorted(missing))} not declared", kit.capability_answer)


@check("DEV-001", "DEV-024", "OBS-001")
def interactions_declared(kit: Kit) -> None:
    """The statement declares read and search for the three types."""
    for kind in TYPES:
        codes = {one.get("code") for one in kit.declared(kind).get("interaction") or ()}
        missing = {"read", "search-type"} - codes
        expect(not missing, f"{kind}: {', '.join(sorted(missing))} not declared", kit.capability_answer)


@check("SCO-004")
def no_writing_declared(kit: Kit) -> None:
    """The statement declares no interaction that writes."""
    for kind in TYPES:
        codes = {str(one.get("code")) for one in kit.declared(kind).get("interaction") or ()}
        expect(not codes & WRITES, f"{kind}: {', '.join(sorted(codes & WRITES))} declared", kit.capability_answer)


@check("SUM-001", "RS-006")
def summary_declared(kit: Kit) -> None:
    """Where continuous glucose is served, the statement declares the operation hddt-cgm-summary on Observation."""
    if "continuous-glucose-measurement" not in served(kit):
        raise NotApplicable("continuous glucose measurement is not served")
    names = {str(one.get("name")) for one in kit.declared("Observation").get("operation") or ()}
    named = any("hddt-cgm-summary" in name for name in names)
    expect(named, "the operation hddt-cgm-summary is not declared", kit.capability_answer)


@check("PRIV-002")
def no_patient_declared(kit: Kit) -> None:
    """The statement declares no Patient."""
    expect(not kit.declared("Patient"), "the resource type Patient is declared", kit.capability_answer)
