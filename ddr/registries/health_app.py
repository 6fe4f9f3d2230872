"""DiGA entries as BfArM's DiGA-VZ publishes them: HealthApp and HealthAppCatalogEntry read into our own form.

Profiles: https://fhir.bfarm.de/StructureDefinition/HealthApp, …/HealthAppHiisTrustAttributes, …/HealthAppCatalogEntry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ddr.registries.certificates import BadCertificate, decode
from ddr.registries.extensions import extensions, value, values

BASE = "https://fhir.bfarm.de/StructureDefinition/"
HEALTH_APP = BASE + "HealthApp"
TRUST_ATTRIBUTES = BASE + "HealthAppHiisTrustAttributes"
MIV_SET = BASE + "HealthAppMivSet"
CATALOG_ENTRY = BASE + "HealthAppCatalogEntry"
APP_LINK = BASE + "HealthAppCatalogEntryHealthAppLink"
MANUFACTURER = BASE + "HealthAppManufacturer"
DIGA_ID = "https://fhir.bfarm.de/Identifier/DigaId"

LISTED = {"draft", "active"}  # draft: listed for a trial period (§ 139e SGB V), with all rights of a listed DiGA
CLIENT_ID = re.compile(r"urn:diga:bfarm:(\d{5})")


@dataclass(frozen=True)
class Entry:
    """One DiGA of the registry that has trust attributes."""

    client_id: str
    name: str = ""
    manufacturer: str = ""
    redirect_uri: str = ""
    valuesets: frozenset[str] = frozenset()
    certificates: tuple[bytes, ...] = ()  # DER
    listed: bool = True  # False: the registry itself says that the DiGA is retired, or no longer knows it
    problems: tuple[str, ...] = ()  # why the entry cannot be used, or not fully
    usable: bool = True  # False: a problem disables the DiGA although it is listed


def read_entries(
    apps: Iterable[Mapping[str, Any]], catalog: Iterable[Mapping[str, Any]], makers: Iterable[Mapping[str, Any]] = ()
) -> tuple[list[Entry], list[str]]:
    """All DiGA that may be clients, and what could not be read at all.

    Apps are joined with catalogue entries and manufacturers by their ids, which hold within one reading only.
    """
    states = _states(catalog)
    names = {str(maker.get("id")): str(maker.get("name") or "") for maker in makers}
    entries, unreadable = [], []
    for app in apps:
        trust = extensions(app, TRUST_ATTRIBUTES)
        client_id = next(iter(_trust_values(trust, "clientId")), None)
        if not app:
            unreadable.append("an entry holds no resource")
        elif trust and client_id is None:
            unreadable.append(f"DiGA {_diga_id(app) or 'without id'}: trust attributes without client id")
        elif client_id is not None:
            entries.append(_entry(app, client_id, trust, states.get(str(app.get("id"))), names))
    return entries, unreadable


def _entry(
    app: Mapping[str, Any],
    client_id: str,
    trust: list[Mapping[str, Any]],
    states: set[str] | None,
    makers: Mapping[str, str],
) -> Entry:
    certificates, refused = _certificates(_trust_values(trust, "clientCertificates"))
    redirects = _trust_values(trust, "redirectUri")
    fatal = [
        *_client_id_problem(client_id, _diga_id(app)),
        *_redirect_problem(redirects),
        *([] if certificates else ["no usable certificate"]),
        *([] if states else ["no catalogue entry"]),
    ]
    return Entry(
        client_id=client_id,
        name=_name(app),
        manufacturer=_manufacturer(app, makers),
        redirect_uri=redirects[0] if redirects else "",
        valuesets=frozenset(values(app, MIV_SET)),
        certificates=certificates,
        listed=states is None or bool(states & LISTED),
        problems=(*fatal, *refused),
        usable=not fatal,
    )


def _trust_values(trust: list[Mapping[str, Any]], part: str) -> list[str]:
    return [text for extension in trust for text in values(extension, part)]


def _certificates(texts: list[str]) -> tuple[tuple[bytes, ...], list[str]]:
    """The certificates that can be used, each once, and why others cannot."""
    good: dict[bytes, None] = {}
    refused = []
    for text in texts:
        try:
            good[decode(text)] = None
        except BadCertificate as error:
            refused.append(str(error))
    return tuple(good), refused


def _client_id_problem(client_id: str, diga_id: str | None) -> list[str]:
    match = CLIENT_ID.fullmatch(client_id)
    if match is None:
        return ["the client id has not the form urn:diga:bfarm:{5 digits}"]
    return ["the client id is not that of the DiGA"] if diga_id not in (None, match[1]) else []


def _redirect_problem(redirects: list[str]) -> list[str]:
    if len(redirects) != 1:
        return [f"{len(redirects)} redirect URIs instead of one"]
    try:
        absolute = bool(urlsplit(redirects[0]).scheme) and "#" not in redirects[0]  # absolute-URI, RFC 3986 section 4.3
    except ValueError:
        absolute = False
    return [] if absolute else ["the redirect URI is not absolute"]


def _states(catalog: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Catalogue states by the id of the HealthApp resource that they are about."""
    states: dict[str, set[str]] = {}
    for entry in catalog:
        item = entry.get("referencedItem")
        reference = value(item, APP_LINK) if isinstance(item, dict) else None
        if reference:
            states.setdefault(_reference_id(reference), set()).add(str(entry.get("status")))
    return states


def _reference_id(reference: str) -> str:
    """The resource id in `DeviceDefinition/66`, `https://…/DeviceDefinition/66` or either with `/_history/…`."""
    return reference.split("/_history/")[0].rstrip("/").rpartition("/")[2]


def _diga_id(app: Mapping[str, Any]) -> str | None:
    found = [item for item in _objects(app.get("identifier")) if item.get("system") == DIGA_ID]
    return next((str(item["value"]) for item in found if item.get("value")), None)


def _name(app: Mapping[str, Any]) -> str:
    names = sorted(_objects(app.get("deviceName")), key=lambda item: item.get("type") != "user-friendly-name")
    return next((str(item["name"]) for item in names if item.get("name")), "")


def _manufacturer(app: Mapping[str, Any], makers: Mapping[str, str]) -> str:
    reference = app.get("manufacturerReference")
    if isinstance(reference, dict):
        named = makers.get(_reference_id(str(reference.get("reference") or ""))) or reference.get("display")
        return str(named or "")
    return str(app.get("manufacturerString") or "")


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
