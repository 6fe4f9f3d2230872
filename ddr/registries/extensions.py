"""FHIR extensions and identifiers, read by URL and never by position; unknown ones are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BFARM = "https://fhir.bfarm.de/StructureDefinition/"  # profiles and extensions of DiGA-VZ and HIIS-VZ


def extensions(element: Mapping[str, Any], url: str) -> list[Mapping[str, Any]]:
    """The extensions of `element` with this URL, in order."""
    found = element.get("extension")
    return (
        [item for item in found if isinstance(item, dict) and item.get("url") == url] if isinstance(found, list) else []
    )


def values(element: Mapping[str, Any], url: str) -> list[str]:
    """The texts of the extensions with this URL.

    BfArM's publications do not fix the data type, so any `value[x]` counts; of a Reference it is the `reference`.
    """
    return [text for extension in extensions(element, url) if (text := _text(extension))]


def value(element: Mapping[str, Any], url: str) -> str | None:
    """The first of `values`, or None."""
    return next(iter(values(element, url)), None)


def identifiers(resource: Mapping[str, Any], system: str) -> list[str]:
    """The identifiers of this system, in order."""
    found = resource.get("identifier")
    items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return [str(item["value"]) for item in items if item.get("system") == system and item.get("value")]


def reference_id(reference: str) -> str:
    """The resource id in `DeviceDefinition/66`, `https://…/DeviceDefinition/66` or either with `/_history/…`."""
    return reference.split("/_history/")[0].rstrip("/").rpartition("/")[2]


def _text(extension: Mapping[str, Any]) -> str | None:
    found = next((item for key, item in extension.items() if key.startswith("value")), None)
    if isinstance(found, dict):
        found = found.get("reference")
    return found if isinstance(found, str) else None
