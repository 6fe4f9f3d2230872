"""Converts DiGA entries as BfArM's DiGA-VZ publishes them, HealthApp and HealthAppCatalogEntry, to our own form.

Profiles: https://fhir.bfarm.de/StructureDefinition/HealthApp, …/HealthAppHiisTrustAttributes, …/HealthAppCatalogEntry.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ddr.registries.certificates import BadCertificate, decode, weakness
from ddr.registries.extensions import BFARM, extensions, identifiers, reference_id, value, values
from ddr.registries.wording import LONGEST_NOTE, clean, redirect_problem
from ddr.scopes.parse import is_canonical

HEALTH_APP = BFARM + "HealthApp"
TRUST_ATTRIBUTES = BFARM + "HealthAppHiisTrustAttributes"
MIV_SET = BFARM + "HealthAppMivSet"
CATALOG_ENTRY = BFARM + "HealthAppCatalogEntry"
APP_LINK = BFARM + "HealthAppCatalogEntryHealthAppLink"
MANUFACTURER = BFARM + "HealthAppManufacturer"
DIGA_ID = "https://fhir.bfarm.de/Identifier/DigaId"

LISTED = {"draft", "active"}  # draft: listed for a trial period (§ 139e SGB V), with all rights of a listed DiGA
RETIRED = {"retired"}  # FHIR R4 PublicationStatus also has `unknown`, which proves nothing; nor does a misspelt status
CLIENT_ID = re.compile(r"urn:diga:bfarm:([0-9]{5})")
DIGA_NUMBER = re.compile(r"[0-9]{5}")


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
    absent: bool = False  # not listed because the last reading does not mention it, which proves nothing yet
    doubtful: bool = False  # a part is unreadable, so that something may only seem to be missing


@dataclass(frozen=True)
class Found:
    """The content of a reading: `entries` of DiGA that may be clients, and `notes` on what could not be read.

    `listed` are the client ids of all listed DiGA, by their DiGA-ID, with or without trust attributes. `certain`: every
    resource belongs to a known DiGA, so that none of them can be about a DiGA that is not mentioned.
    """

    entries: list[Entry]
    notes: list[str]
    listed: frozenset[str] = frozenset()
    certain: bool = True


def read_entries(
    apps: Iterable[Mapping[str, Any]], catalog: Iterable[Mapping[str, Any]], makers: Iterable[Mapping[str, Any]] = ()
) -> Found:
    """All DiGA that may be clients, and what could not be read at all.

    Apps are joined with catalogue entries and manufacturers by resource ids, which are valid within one reading only.
    """
    states = catalog_states(catalog)
    names = {str(maker.get("id")): str(maker.get("name") or "") for maker in makers}
    entries, notes, listed, certain = [], list[str](), set[str](), True
    for app in apps:
        trust = extensions(app, TRUST_ATTRIBUTES)
        claimed = next(iter(_trust_values(trust, "clientId")), None)
        owner, own_states = _owner(app, claimed), states.get(str(app.get("id")))
        if owner and not is_retired(own_states):
            listed.add(owner)
        if not app:
            notes.append("an entry holds no resource")
        elif trust and claimed is None:
            notes.append(f"DiGA {diga_id(app) or 'without id'}: trust attributes without client id")
        elif trust and owner is None:
            notes.append(f"{claimed}: the client id has not the form urn:diga:bfarm:{{5 digits}}")
        elif trust and owner is not None:
            entries.append(_entry(app, owner, trust, own_states, names))
        certain = certain and owner is not None
    return Found(entries, [clean(note, LONGEST_NOTE) for note in notes], frozenset(listed), certain)


def _owner(app: Mapping[str, Any], claimed: str | None) -> str | None:
    """The client id of the DiGA that a resource is about: by its DiGA-ID, else the client id that it claims."""
    number = diga_id(app)
    if number is not None and DIGA_NUMBER.fullmatch(number):
        return f"urn:diga:bfarm:{number}"
    return claimed if claimed is not None and CLIENT_ID.fullmatch(claimed) else None


def is_retired(states: Collection[str] | None) -> bool:
    """Whether the registry itself says that the DiGA is retired: by its catalogue states, all of which must be
    readable."""
    return states is not None and set(states) == RETIRED


def _catalogue_problem(states: set[str] | None) -> list[str]:
    if not states:
        return ["no catalogue entry"]
    return [] if states & LISTED or is_retired(states) else ["the catalogue status cannot be read"]


def _entry(
    app: Mapping[str, Any],
    client_id: str,
    trust: list[Mapping[str, Any]],
    states: set[str] | None,
    makers: Mapping[str, str],
) -> Entry:
    certificates, noted = _certificates(_trust_values(trust, "clientCertificates"))
    redirects = _trust_values(trust, "redirectUri")
    valuesets, unreadable = _valuesets(app)
    fatal = [
        *_client_id_problem(_trust_values(trust, "clientId")[0], client_id),
        *_redirect_problem(redirects),
        *([] if certificates else ["no usable certificate"]),
        *_catalogue_problem(states),
    ]
    return Entry(
        client_id=client_id,
        name=_name(app),
        manufacturer=_manufacturer(app, makers),
        redirect_uri=redirects[0] if redirects and not _redirect_problem(redirects) else "",
        valuesets=valuesets,
        certificates=certificates,
        listed=not is_retired(states),
        problems=(*fatal, *unreadable, *noted),
        usable=not fatal,
        doubtful=bool(fatal or unreadable),
    )


def _valuesets(app: Mapping[str, Any]) -> tuple[frozenset[str], list[str]]:
    """The MIVs that the DiGA may read, exactly as written, and a problem when some cannot be read."""
    written = values(app, MIV_SET)
    good = frozenset(filter(is_canonical, written))
    complete = len(written) == len(extensions(app, MIV_SET)) and len(good) == len(set(written))
    return good, [] if complete else ["a MIV set cannot be read"]


def _trust_values(trust: list[Mapping[str, Any]], part: str) -> list[str]:
    return [text for extension in trust for text in values(extension, part)]


def _certificates(texts: list[str]) -> tuple[tuple[bytes, ...], list[str]]:
    """The usable certificates, without duplicates, and the problems of these and of the others."""
    good: dict[bytes, None] = {}
    refused = []
    for text in texts:
        try:
            der = decode(text)
            good[der] = None
            refused += weakness(der)
        except BadCertificate as error:
            refused.append(str(error))
    return tuple(good), refused


def _client_id_problem(claimed: str, client_id: str) -> list[str]:
    if CLIENT_ID.fullmatch(claimed) is None:
        return ["the client id has not the form urn:diga:bfarm:{5 digits}"]
    return [] if claimed == client_id else ["the client id is not that of the DiGA"]


def _redirect_problem(redirects: list[str]) -> list[str]:
    if len(redirects) != 1:
        return [f"{len(redirects)} redirect URIs instead of one"]
    problem = redirect_problem(redirects[0])
    return [problem] if problem else []


def catalog_states(catalog: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Catalogue states by the id of the HealthApp resource that they are about."""
    states: dict[str, set[str]] = {}
    for entry in catalog:
        item = entry.get("referencedItem")
        reference = value(item, APP_LINK) if isinstance(item, dict) else None
        if reference:
            states.setdefault(reference_id(reference), set()).add(str(entry.get("status")))
    return states


def diga_id(app: Mapping[str, Any]) -> str | None:
    """The DiGA-ID of a HealthApp as written, or None."""
    return next(iter(identifiers(app, DIGA_ID)), None)


def _name(app: Mapping[str, Any]) -> str:
    names = sorted(_objects(app.get("deviceName")), key=lambda item: item.get("type") != "user-friendly-name")
    return clean(next((str(item["name"]) for item in names if item.get("name")), ""))


def _manufacturer(app: Mapping[str, Any], makers: Mapping[str, str]) -> str:
    reference = app.get("manufacturerReference")
    if isinstance(reference, dict):
        named = makers.get(reference_id(str(reference.get("reference") or ""))) or reference.get("display")
        return clean(str(named or ""))
    return clean(str(app.get("manufacturerString") or ""))


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
