"""The stand-in's resources in the form of BfArM's profiles: HealthApp, HealthAppCatalogEntry, HealthAppManufacturer."""

from __future__ import annotations

import base64
import ssl
from typing import Any

from ddr.demo.registry_state import ListedDiga

BASE = "https://fhir.bfarm.de/StructureDefinition/"


def health_app(diga: ListedDiga) -> dict[str, Any]:
    """DeviceDefinition of a DiGA with its trust attributes and MIVs."""
    return {
        "resourceType": "DeviceDefinition",
        "id": f"app-{diga.number}",
        "meta": {"profile": [BASE + "HealthApp"]},
        "extension": [_trust_attributes(diga), *map(_miv_set, diga.mivs)],
        "identifier": [{"system": "https://fhir.bfarm.de/Identifier/DigaId", "value": diga.number}],
        "deviceName": [{"name": diga.name, "type": "user-friendly-name"}],
        "manufacturerReference": {"reference": f"Organization/maker-{diga.number}"},
    }


def catalog_entry(diga: ListedDiga) -> dict[str, Any]:
    """CatalogEntry with the listing status of a DiGA."""
    link = {"reference": f"DeviceDefinition/app-{diga.number}", "display": diga.name}
    return {
        "resourceType": "CatalogEntry",
        "id": f"entry-{diga.number}",
        "meta": {"profile": [BASE + "HealthAppCatalogEntry"]},
        "orderable": False,
        "referencedItem": {"extension": [{"url": BASE + "HealthAppCatalogEntryHealthAppLink", "valueReference": link}]},
        "status": diga.status,
        "validityPeriod": {"start": "2026-07-01"},
    }


def manufacturer(diga: ListedDiga) -> dict[str, Any]:
    """Organization behind a DiGA."""
    return {
        "resourceType": "Organization",
        "id": f"maker-{diga.number}",
        "meta": {"profile": [BASE + "HealthAppManufacturer"]},
        "name": diga.manufacturer,
    }


def _trust_attributes(diga: ListedDiga) -> dict[str, Any]:
    certificates = [_encoded(der, pem=diga.pem) for der in diga.certificates]
    return {
        "url": BASE + "HealthAppHiisTrustAttributes",
        "extension": [
            *({"url": "clientCertificates", "valueBase64Binary": text} for text in certificates),
            {"url": "clientId", "valueUri": diga.client_id},
            {"url": "redirectUri", "valueUri": diga.redirect_uri},
        ],
    }


def _encoded(der: bytes, *, pem: bool) -> str:
    return base64.b64encode(ssl.DER_cert_to_PEM_cert(der).encode() if pem else der).decode()


def _miv_set(canonical: str) -> dict[str, Any]:
    return {"url": BASE + "HealthAppMivSet", "valueReference": {"reference": canonical, "display": canonical}}
