"""FHIR XML into the JSON shape of a resource, with the same table that the writer uses (FHIR R4 xml.html).

Documents with a DTD or with too many elements are refused (ddr.fhir.xml_tree). Comments are dropped; the order of
elements is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import Element as Node
from xml.etree.ElementTree import canonicalize, tostring
from xml.parsers.expat import ExpatError

from ddr.fhir.bounds import TooMuch
from ddr.fhir.elements import RESOURCES, SHAPES, Element, Shape
from ddr.fhir.xml_tree import read_tree
from ddr.fhir.xml_writer import FHIR_NAMESPACE, XHTML_NAMESPACE, XmlError

_PREFIX = f"{{{FHIR_NAMESPACE}}}"
_XHTML_PREFIX = f"{{{XHTML_NAMESPACE}}}"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,99})?([eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "false": False}
_SCHEMA_LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
_PARSER_ERRORS = (ExpatError, SyntaxError, ValueError, LookupError, RecursionError)  # also unknown encodings


def read_xml(body: bytes) -> dict[str, Any]:
    """The resource in a FHIR XML document, decimals exact (Decimal). Raises XmlError and TooMuch."""
    try:
        return _resource(read_tree(body))
    except (XmlError, TooMuch):
        raise
    except _PARSER_ERRORS:  # their texts are not for clients
        raise XmlError("it is not well-formed") from None


def _resource(node: Node) -> dict[str, Any]:
    name = _local(node)
    if name not in RESOURCES:
        raise XmlError(f"unknown resource type {name}")
    _check(node, _SCHEMA_LOCATION)
    return {"resourceType": name, **_children(node, SHAPES[name])}


def _local(node: Node) -> str:
    if not node.tag.startswith(_PREFIX):
        raise XmlError("an element is not in the FHIR namespace")
    return node.tag[len(_PREFIX) :]


def _check(node: Node, *attributes: str) -> None:
    """FHIR has no text between elements and only few attributes; anything else must not be dropped silently."""
    if (node.text or "").strip() or any((child.tail or "").strip() for child in node):
        raise XmlError(f"there is text inside {node.tag.rpartition('}')[2]}")
    if unknown := set(node.attrib) - set(attributes):
        raise XmlError(f"unknown attribute {min(unknown)}")


def _children(node: Node, shape: Shape) -> dict[str, Any]:
    found: dict[str, Any] = {}
    grouped: dict[str, list[Node]] = {}
    for child in node:
        name = "div" if child.tag == _XHTML_PREFIX + "div" else _local(child)
        grouped.setdefault(name, []).append(child)
    for name, nodes in grouped.items():
        element = shape.elements.get(name)
        if element is None or element.attribute or name[0] == "_":
            raise XmlError(f"unknown element {name}")
        if len(nodes) > 1 and not element.many:
            raise XmlError(f"element {name} is given twice")
        found.update(_primitives(element, nodes) if element.primitive else _complex(element, nodes))
    return found


def _complex(element: Element, nodes: list[Node]) -> dict[str, Any]:
    values = [_value(element, node) for node in nodes]
    return {element.name: values if element.many else values[0]}


def _value(element: Element, node: Node) -> Any:
    if element.type == "xhtml":
        return _narrative(node)
    if element.type == "Resource":
        if len(node) != 1:
            raise XmlError(f"element {element.name} must hold one resource")
        _check(node)
        return _resource(node[0])
    found = _typed(node, SHAPES[element.type])
    if not found:
        raise XmlError(f"element {element.name} is empty")
    return found


def _typed(node: Node, shape: Shape, *more: str) -> dict[str, Any]:
    """A complex value, or the twin of a primitive one; only the attributes in `shape` and `more` are allowed."""
    _check(node, *shape.attributes, *more)
    attributes = {name: _string(node.attrib[name]) for name in shape.attributes if name in node.attrib}
    return attributes | _children(node, shape)


def _narrative(node: Node) -> str:
    """The canonical text of an XHTML div, its namespace declared once and without a prefix."""
    for part in node.iter():
        if not part.tag.startswith(_XHTML_PREFIX):
            raise XmlError("the narrative holds something that is not XHTML")
        part.tag = part.tag.removeprefix(_XHTML_PREFIX)
    node.tail = None
    node.set("xmlns", XHTML_NAMESPACE)
    return canonicalize(tostring(node, encoding="unicode"))


def _primitives(element: Element, nodes: list[Node]) -> dict[str, Any]:
    """A primitive under its name and, where ids or extensions are given, its twin under "_name"."""
    convert = _CONVERTERS.get(element.type, _string)
    values = [convert(node.attrib["value"]) if "value" in node.attrib else None for node in nodes]
    twins = [_typed(node, _TWIN, "value") or None for node in nodes]
    if any(value is None and twin is None for value, twin in zip(values, twins, strict=True)):
        raise XmlError(f"element {element.name} is empty")
    found: dict[str, Any] = {}
    for key, items in ((element.name, values), ("_" + element.name, twins)):
        if any(item is not None for item in items):
            found[key] = items if element.many else items[0]
    return found


_TWIN = Shape({"extension": SHAPES["Observation"].elements["extension"]}, {"extension": 0}, ("id",))


def _string(text: str) -> str:
    if not text:
        raise XmlError("a value is empty")
    return text


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise XmlError("a value is not a boolean")
    return _BOOLEANS[text]


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise XmlError("a value is not an integer")
    return int(text)


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise XmlError("a value is not a decimal")
    return Decimal(text)


_CONVERTERS: dict[str, Callable[[str], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "positiveInt": _integer,
    "unsignedInt": _integer,
    "decimal": _decimal,
}
