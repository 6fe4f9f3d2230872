"""Whether a resource is valid FHIR R4: known elements, lists where they belong, primitives in the right form.

The table of elements is that of the pure room ddr.fhir (made from the R4 definitions); the rules are this module's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from ddr.conform.exchange import Json
from ddr.conform.laws.times import is_date_time, is_instant
from ddr.fhir.elements import SHAPES, Element

_PATTERNS = {
    "id": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "code": re.compile(r"[^\s]+( [^\s]+)*"),
    "uri": re.compile(r"\S+"),
    "url": re.compile(r"\S+"),
    "canonical": re.compile(r"\S+"),
    "date": re.compile(r"\d{4}(-\d{2}(-\d{2})?)?"),
}


def problems(resource: Json) -> list[str]:
    """What is not FHIR R4; paths from the resource's type."""
    return list(_resource(resource, True))


def misshapen(resource: Json) -> Iterator[str]:
    """Known elements with another type or form than R4 defines; unknown elements and types are ignored."""
    return _resource(resource, False)


def _resource(found: Json, strict: bool) -> Iterator[str]:
    kind = str(found.get("resourceType"))
    if kind in SHAPES:
        yield from _object(kind, kind, {key: value for key, value in found.items() if key != "resourceType"}, strict)
    elif strict:
        yield f"{kind} is not a resource type that is served"


def _object(path: str, kind: str, found: Json, strict: bool) -> Iterator[str]:
    if not found:
        yield f"{path} is empty"
    for name, value in found.items():
        element = SHAPES[kind].elements.get(name)
        if element is None:
            if strict:
                yield f"{path}.{name} is not an element of R4"
        elif not name.startswith("_"):
            yield from _element(f"{path}.{name}", element, value, strict)


def _element(path: str, element: Element, value: object, strict: bool) -> Iterator[str]:
    if element.many != isinstance(value, list):
        yield f"{path} is {'no list' if element.many else 'a list'}"
        return
    if value == []:
        yield f"{path} is an empty list"
    for one in value if isinstance(value, list) else [value]:
        if element.primitive:
            if not _primitive(element.type, one):
                yield f"{path}: {str(one)[:40]!r} is not a valid {element.type}"
        elif element.type == "Resource":
            yield from _within(path, one, strict)
        elif element.type == "xhtml":
            continue
        elif not isinstance(one, dict):
            yield f"{path} is not an object"
        elif element.type in SHAPES:
            yield from _object(path, element.type, one, strict)


def _within(path: str, one: object, strict: bool) -> Iterator[str]:
    """A contained resource may be of any type of R4; the structure of those that are not served is unknown here."""
    kind = one.get("resourceType") if isinstance(one, dict) else None
    if not isinstance(one, dict) or not isinstance(kind, str) or not re.fullmatch("[A-Z][A-Za-z]+", kind):
        yield f"{path} is not a resource"
    elif kind in SHAPES:
        yield from _resource(one, strict)


def _primitive(kind: str, value: object) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "positiveInt" | "unsignedInt":
            least = {"integer": -(1 << 31), "positiveInt": 1, "unsignedInt": 0}[kind]
            return isinstance(value, int) and not isinstance(value, bool) and value >= least
        case "decimal":
            return isinstance(value, int | Decimal) and not isinstance(value, bool)
        case "instant":
            return is_instant(value)
        case "dateTime":
            return is_date_time(value)
    if not isinstance(value, str) or not value:
        return False
    pattern = _PATTERNS.get(kind)
    return pattern is None or pattern.fullmatch(value) is not None
