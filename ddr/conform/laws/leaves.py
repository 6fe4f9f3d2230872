"""Resources in JSON and in XML as the same multiset of leaves, to compare both forms (FHIR R4 xml.html, json.html).

A path has the position of each element among those with its name; a single one is the first. The entries of a Bundle
have no position: two searches may return them in a different order.
"""

from __future__ import annotations

from collections import Counter
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from ddr.conform.exchange import Json

FHIR = "{http://hl7.org/fhir}"
Leaves = Counter[tuple[str, str]]


def json_leaves(resource: Json) -> Leaves:
    """Path and value of every primitive."""
    found: Leaves = Counter()
    _json(str(resource.get("resourceType")), {k: v for k, v in resource.items() if k != "resourceType"}, found)
    return found


def _json(path: str, value: object, found: Leaves) -> None:
    if isinstance(value, dict):
        kind = value.get("resourceType")
        for name, inner in value.items():
            if name != "resourceType":
                step = f".{kind}" if kind else ""
                _members(f"{path}{step}.{name.removeprefix('_')}", inner, found)
    elif isinstance(value, bool):
        found[path, str(value).lower()] += 1
    elif value is not None and not path.endswith(".div"):
        found[path, str(value)] += 1


def _members(path: str, value: object, found: Leaves) -> None:
    for place, inner in enumerate(value if isinstance(value, list) else [value]):
        _json(_placed(path, place), inner, found)


def _placed(path: str, place: int) -> str:
    return path if not place or path == "Bundle.entry" else f"{path}[{place}]"


def xml_leaves(content: bytes) -> Leaves:
    """The same for an XML document. Raises ValueError if it is not FHIR XML."""
    try:
        root = fromstring(content, forbid_dtd=True)
    except Exception as error:
        raise ValueError(f"not well-formed XML: {type(error).__name__}") from None
    if not root.tag.startswith(FHIR):
        raise ValueError("the root is not in the namespace of FHIR")
    found: Leaves = Counter()
    _xml(root.tag.removeprefix(FHIR), root, found)
    return found


def _xml(path: str, node: Element, found: Leaves) -> None:
    for name in ("value", "id", "url"):
        if name in node.attrib:
            found[path if name == "value" else f"{path}.{name}", node.attrib[name]] += 1
    seen: Counter[str] = Counter()
    for child in node:
        if child.tag.startswith(FHIR):
            name = child.tag.removeprefix(FHIR)
            _xml(_placed(f"{path}.{name}", seen[name]), child, found)
            seen[name] += 1
