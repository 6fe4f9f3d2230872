"""This recorder's entry in the HIIS-VZ: built from the settings, read back, compared. Pure.

Profiles: https://fhir.bfarm.de/StructureDefinition/HiisDeviceDataRecorderDefinition, …/HiisDeviceDataRecorderEndpoint,
…/HiisDeviceDefinitionMivSet; HDDT information-model.md (MIV-specific properties of Device Data Recorders).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from ddr.miv.model import UCUM, MivCatalog, MivTerms
from ddr.registries.extensions import BFARM, extensions, reference_id, value, values
from ddr.settings import Settings

RECORDER = BFARM + "HiisDeviceDataRecorderDefinition"
ENDPOINT = BFARM + "HiisDeviceDataRecorderEndpoint"
ENDPOINT_LINK = BFARM + "HiisDeviceDataRecorderEndpointLink"
MIV_SET = BFARM + "HiisDeviceDefinitionMivSet"
HIIS_ID = "https://fhir.bfarm.de/Identifier/HiisId"
CONNECTION = "https://fhir.bfarm.de/CodeSystem/HiisEndpointConnectionType"
PAYLOAD = "http://terminology.hl7.org/CodeSystem/endpoint-payload-type"

FHIR, AUTHORIZATION = "hl7-fhir-rest", "oauth-authz-server"
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "wk": 604_800}
# Part of the MIV set → term, unit in which it is registered, seconds per unit of the term.
TERMS = {
    "gracePeriod": ("grace_seconds", "s", 1),
    "historicDataPeriod": ("historic_days", "d", 86_400),
    "delayFromRealTime": ("delay_seconds", "s", 1),
}

Resource = dict[str, Any]


@dataclass(frozen=True)
class Address:
    """One server: its FQDN and its base URL."""

    fqdn: str
    url: str


@dataclass(frozen=True)
class Registration:
    """The HIIS-VZ's statements about a recorder, in our own form."""

    endpoints: Mapping[str, Address]  # by connection type
    mivs: Mapping[str, MivTerms | None]  # by ValueSet canonical; None: without usable terms


def registration(settings: Settings, catalog: MivCatalog) -> Registration:
    """What should be registered, from this recorder's settings."""
    servers = {FHIR: settings.fhir_base, AUTHORIZATION: settings.public_base_url}
    return Registration(
        endpoints={kind: Address(urlsplit(url).hostname or "", url) for kind, url in servers.items()},
        mivs={miv.valueset: catalog.terms[miv.valueset] for miv in catalog.mivs},
    )


def resources(settings: Settings, catalog: MivCatalog) -> list[Resource]:
    """The DeviceDefinition and both Endpoints in the form to be registered."""
    wanted = registration(settings, catalog)
    endpoints = [_endpoint(kind, address) for kind, address in wanted.endpoints.items()]
    links = [{"url": ENDPOINT_LINK, "valueReference": {"reference": f"Endpoint/{one['id']}"}} for one in endpoints]
    sets = [_miv_set(miv.valueset, miv.title, catalog.terms[miv.valueset]) for miv in catalog.mivs]
    definition: Resource = {
        "resourceType": "DeviceDefinition",
        "id": "recorder",
        "meta": {"profile": [RECORDER]},
        "extension": [*links, *sets],
        **({"identifier": [{"system": HIIS_ID, "value": settings.hiis_id}]} if settings.hiis_id else {}),
        **({"manufacturerString": settings.manufacturer} if settings.manufacturer else {}),
        "deviceName": [{"name": settings.product_name, "type": "user-friendly-name"}],
        "version": [settings.product_version],
    }
    return [definition, *endpoints]


def bundle(entries: Iterable[Resource]) -> Resource:
    """`entries` as a Bundle of type collection."""
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in entries]}


def read_registration(definition: Mapping[str, Any], endpoints: Iterable[Mapping[str, Any]]) -> Registration:
    """The content of a registered DeviceDefinition and its Endpoints; unknown and unusable parts are left out."""
    linked = {reference_id(reference) for reference in values(definition, ENDPOINT_LINK)}
    found = [one for one in endpoints if one.get("id") in linked and one.get("status", "active") == "active"]
    sets = {value(one, "mivSet") or "": _terms(one) for one in extensions(definition, MIV_SET)}
    return Registration({_kind(one): _address(one) for one in found}, sets)


def differences(own: Registration, theirs: Registration) -> list[str]:
    """One line for each point in which the HIIS-VZ differs from this recorder."""
    lines = [
        f"endpoint {kind}: {_shown(own.endpoints.get(kind))} here, {_shown(theirs.endpoints.get(kind))} registered"
        for kind in sorted({*own.endpoints, *theirs.endpoints})
        if own.endpoints.get(kind) != theirs.endpoints.get(kind)
    ]
    for url in sorted({*own.mivs, *theirs.mivs}):
        if url not in theirs.mivs:
            lines.append(f"MIV {url}: offered here, but not registered")
        elif url not in own.mivs:
            lines.append(f"MIV {url}: registered, but not offered here")
        else:
            lines += _term_differences(url, own.mivs[url], theirs.mivs[url])
    return lines


def _term_differences(url: str, own: MivTerms | None, theirs: MivTerms | None) -> list[str]:
    if own is None or theirs is None:
        return [] if own is theirs else [f"MIV {url}: registered without usable times"]
    return [
        f"MIV {url}: {field.name} {getattr(own, field.name)} here, {getattr(theirs, field.name)} registered"
        for field in fields(MivTerms)
        if getattr(own, field.name) != getattr(theirs, field.name)
    ]


def _shown(address: Address | None) -> str:
    return "nothing" if address is None else f"{address.url} ({address.fqdn})"


def _endpoint(kind: str, address: Address) -> Resource:
    return {
        "resourceType": "Endpoint",
        "id": {FHIR: "fhir", AUTHORIZATION: "authorization"}[kind],
        "meta": {"profile": [ENDPOINT]},
        "status": "active",
        "connectionType": {"system": CONNECTION, "code": kind},
        "name": address.fqdn,
        "payloadType": [{"coding": [{"system": PAYLOAD, "code": "any"}]}],
        "address": address.url,
    }


def _miv_set(valueset: str, title: str, terms: MivTerms) -> Resource:
    times = [
        {"url": part, "valueDuration": {"value": getattr(terms, name), "unit": unit, "system": UCUM, "code": unit}}
        for part, (name, unit, _) in TERMS.items()
    ]
    miv = {"url": "mivSet", "valueReference": {"reference": valueset, "display": title}}
    return {"url": MIV_SET, "extension": [miv, *times]}


def _terms(miv_set: Mapping[str, Any]) -> MivTerms | None:
    """The three times in our units, whatever unit they are registered in (the guide's texts disagree)."""
    found = {name: _duration(miv_set, part, seconds) for part, (name, _, seconds) in TERMS.items()}
    usable = {name: number for name, number in found.items() if number is not None}
    return MivTerms(**usable) if len(usable) == len(TERMS) else None


def _duration(miv_set: Mapping[str, Any], part: str, seconds: int) -> int | None:
    duration = next((one.get("valueDuration") for one in extensions(miv_set, part)), None)
    if not isinstance(duration, Mapping) or not isinstance(duration.get("value"), int | float):
        return None
    unit = SECONDS.get(str(duration.get("code") or duration.get("unit")))
    return None if unit is None else round(duration["value"] * unit / seconds)


def _kind(endpoint: Mapping[str, Any]) -> str:
    connection = endpoint.get("connectionType")
    return str(connection.get("code")) if isinstance(connection, Mapping) else ""


def _address(endpoint: Mapping[str, Any]) -> Address:
    """The server at a registered address. Some entries give the URL of the metadata document instead of the base
    URL."""
    url = str(endpoint.get("address") or "").split("/.well-known/")[0].rstrip("/")
    return Address(str(endpoint.get("name") or urlsplit(url).hostname or ""), url)
