"""The entries of an uploaded Bundle, and the names by which they refer to each other. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ddr.gateway.bounds import MOST_REGISTRATIONS
from ddr.gateway.fields import Fields
from ddr.gateway.problem import Problem, invalid
from ddr.imports.labels import is_modified

_MADE = "fhir-"
BUNDLE_TYPES = ("batch", "transaction")
MAX_NAMES = 4  # identifiers by which something is looked up
NO_SYSTEM_ID = "00-00-00-00-00-00-00-00"  # in the PHD guide, the identifier of every device that has none


@dataclass(frozen=True)
class Entry:
    """One entry: its place in the Bundle, the type of its resource, the resource, and its names for references."""

    index: int
    type: str
    fields: Fields
    names: tuple[str, ...]


def read_bundle(bundle: dict[str, Any], most: int) -> tuple[str, list[Entry | Problem]]:
    """The type of the Bundle and its entries; unreadable ones are a Problem. Raises Problem 413 or 422."""
    fields = Fields(bundle)
    if fields.raw("resourceType") != "Bundle":
        raise invalid("resourceType", "must be Bundle")
    kind = fields.need("type", lambda name: fields.choice(name, BUNDLE_TYPES))
    entries = fields.array("entry", None) or []
    if len(entries) > most:
        raise Problem(413, "too-many-items", f"The Bundle has more than {most} entries")
    found = [_read(index, entry) for index, entry in enumerate(entries)]
    _check_registrations(found)
    return kind, found


def _check_registrations(entries: Iterable[Entry | Problem]) -> None:
    """Raise Problem 413 for more devices and metrics than one request may register: each takes several statements."""
    count = sum(isinstance(entry, Entry) and entry.type in {"Device", "DeviceMetric"} for entry in entries)
    if count > MOST_REGISTRATIONS:
        raise Problem(413, "too-many-items", f"The Bundle has more than {MOST_REGISTRATIONS} devices and metrics")


def _read(index: int, entry: Any) -> Entry | Problem:
    try:
        fields = Fields(entry, name="entry")
        resource = fields.need("resource", fields.object)
        found = resource.need("resourceType", resource.text)
        url = _url(fields.need("request", fields.object), found)
        if is_modified(fields.data):
            raise invalid("modifierExtension", "is not supported", "unknown-member")
        return Entry(index, found, resource, tuple(_names(fields.text("fullUrl"), found, resource.text("id"), url)))
    except Problem as problem:
        return problem.kept()


def _url(request: Fields, resource_type: str) -> str:
    """The URL of a POST or PUT; `ifNoneExist` is not needed, because repeating an entry changes nothing."""
    method = request.need("method", request.text)
    if method not in {"POST", "PUT"}:
        raise Problem(405, "method-not-allowed", "The method of an entry must be POST or PUT", "request.method")
    url = request.need("url", request.text)
    if url.partition("?")[0].partition("/")[0] != resource_type:
        raise invalid("request.url", f"must begin with {resource_type}")
    return url


def _names(full_url: str | None, resource_type: str, logical_id: str | None, url: str) -> Iterable[str]:
    """The fullUrl, and "<Type>/<id>" if fullUrl, resource or request give it (FHIR R4 bundle.html#references)."""
    if full_url:
        yield full_url
        yield "/".join(full_url.rsplit("/", 2)[-2:])
    if logical_id:
        yield f"{resource_type}/{logical_id}"
    if "/" in url:
        yield url


def by_name(entries: Iterable[Entry | Problem]) -> dict[str, Entry]:
    """The entries by all their names. A name of several resources names none: a value could go to the wrong device.

    FHIR R4 bundle.html, bdl-7. The same resource may occur twice.
    """
    found: dict[str, Entry] = {}
    several: set[str] = set()
    for entry in entries:
        if isinstance(entry, Entry):
            for name in entry.names:
                if _identity(found.setdefault(name, entry)) != _identity(entry):
                    several.add(name)
    return {name: entry for name, entry in found.items() if name not in several}


def _identity(entry: Entry) -> tuple[str, Any]:
    """What distinguishes a resource from that of another entry."""
    return entry.type, entry.fields.data.get("identifier") or entry.fields.data


def reference(fields: Fields, name: str) -> str | None:
    """The text of a Reference; a logical one (Reference.identifier) in the form of a conditional one."""
    target = fields.object(name)
    if target is None:
        return None
    found = target.text("reference")
    if found is None and (identifier := target.object("identifier")) is not None:
        found = f"Device?identifier={identifier.text('system') or ''}|{identifier.text('value') or ''}"
    return found


def is_made(key: str) -> bool:
    """Whether `key` was made by `make_key`, so its device was registered through the FHIR door."""
    return key.startswith(_MADE)


def make_key(*parts: str) -> str:
    """The gateway's key for something that FHIR names by `parts`; equal parts always give the same key."""
    return _MADE + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def identifier_keys(kind: str, fields: Fields, preferred: str | None = None) -> list[str]:
    """The keys made from identifiers with a value, in order, but one of the type `preferred` first."""
    found: list[str] = []
    for entry in fields.objects("identifier", 50) or ():
        value = entry.text("value")
        if value is None or value == NO_SYSTEM_ID:
            continue
        concept = entry.object("type")
        codes = [coding.text("code") for coding in (concept.objects("coding", 20) or ())] if concept else []
        place = 0 if preferred in codes and preferred is not None else len(found)
        found.insert(place, make_key(kind, entry.text("system") or "", value))
    return list(dict.fromkeys(found))
