"""The searchset Bundle that answers a search (FHIR R4 bundle.html#searchset)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

MATCH = "match"
INCLUDE = "include"
OUTCOME = "outcome"


def entry(base: str, mode: str, resource: Mapping[str, Any]) -> dict[str, Any]:
    """One entry; `base` is the FHIR base URL without trailing slash. An OperationOutcome gets a temporary identity."""
    full_url = uuid4().urn if mode == OUTCOME else f"{base}/{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": full_url, "resource": resource, "search": {"mode": mode}}


def search_bundle(
    base: str,
    entries: Iterable[tuple[str, Mapping[str, Any]]],
    links: Mapping[str, str],
    total: int | None = None,
    updated: str | None = None,
) -> dict[str, Any]:
    """A searchset of (mode, resource) pairs in their order; `links` maps relation (self, next) to URL.

    `total` counts matches over all pages and is omitted where it is not known for free. `updated` is the instant from
    which the next search by `_lastUpdated` continues.
    """
    bundle: dict[str, Any] = {"resourceType": "Bundle", **({"meta": {"lastUpdated": updated}} if updated else {})}
    bundle["type"] = "searchset"
    if total is not None:
        bundle["total"] = total
    bundle["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
    if content := [entry(base, mode, resource) for mode, resource in entries]:  # FHIR forbids empty arrays
        bundle["entry"] = content
    return bundle


def collection(resources: Iterable[tuple[str, Mapping[str, Any]]], timestamp: str) -> dict[str, Any]:
    """A Bundle of type collection with (fullUrl, resource) pairs, made at the instant `timestamp`."""
    entries = [{"fullUrl": full_url, "resource": resource} for full_url, resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "timestamp": timestamp, "entry": entries}
