"""FHIR XML into FHIR's JSON form, for recorders that speak only XML (FHIR R4 xml.html): the resources of HDDT.

Name and parent decide which elements repeat and which hold numbers; unknown elements are kept as they are.
"""

from __future__ import annotations

from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

NAMESPACE = "{http://hl7.org/fhir}"
XHTML = "{http://www.w3.org/1999/xhtml}div"
# Elements that may repeat wherever they occur in Bundle, Observation, Device, DeviceMetric and OperationOutcome.
MANY = frozenset(
    [
        *("extension", "modifierExtension", "contained", "entry", "coding", "profile", "security", "tag", "identifier"),
        *("category", "performer", "note", "interpretation", "referenceRange", "hasMember", "derivedFrom", "component"),
        *("basedOn", "partOf", "focus", "appliesTo", "calibration", "deviceName", "specialization", "property"),
        *("udiCarrier", "statusReason", "safety", "contact", "telecom", "issue", "expression"),
    ]
)
NUMBERS = frozenset(
    ["period", "factor", "lowerLimit", "upperLimit", "dimensions", "total", "score", "valueDecimal", "valueInteger"]
)
QUANTITIES = frozenset(["origin", "low", "high", "valueQuantity", "valueDuration", "valueAge"])
BOOLEANS = {"true": True, "false": False}
# Elements that repeat in one place and not in another.
ALSO_MANY = frozenset(
    [
        ("link", "Bundle"),
        ("version", "Device"),
        ("location", "issue"),
        ("valueCode", "property"),
        ("valueQuantity", "property"),
    ]
)


class FhirXmlError(ValueError):
    """Not a FHIR resource in XML."""


def from_xml(body: bytes) -> dict[str, Any]:
    """The resource. Raises FhirXmlError."""
    try:
        return _resource(_tree(body))
    except (expat.ExpatError, ValueError, LookupError, RecursionError) as error:
        raise FhirXmlError(type(error).__name__) from None


def _tree(body: bytes) -> Element:
    """Rejects document type declarations: without one there are no entities that could expand."""
    builder = TreeBuilder()
    parser = expat.ParserCreate(None, "}")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _no_declaration
    parser.StartElementHandler = lambda name, given: builder.start("{" + name if "}" in name else name, given)
    parser.EndElementHandler = lambda name: builder.end("{" + name if "}" in name else name)
    parser.CharacterDataHandler = builder.data
    parser.Parse(body, True)
    return builder.close()


def _no_declaration(*_: object) -> NoReturn:
    raise ValueError("a document type declaration")


def _resource(node: Element) -> dict[str, Any]:
    return {"resourceType": _name(node), **_object(node, _name(node))}


def _object(node: Element, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name, value in node.attrib.items() if name in ("id", "url")}
    for child in node:
        if child.tag == XHTML:
            continue  # a narrative adds nothing
        name = _name(child)
        value = _value(child, name, kind)
        if name in MANY or (name, kind) in ALSO_MANY:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _value(node: Element, name: str, kind: str) -> Any:
    if name in ("resource", "contained"):
        return _resource(node[0])
    if "value" in node.attrib and not any(child.tag.startswith(NAMESPACE) for child in node):
        text = node.attrib["value"]
        if name in NUMBERS or (name == "value" and kind in QUANTITIES):
            return _number(text)
        return BOOLEANS.get(text, text) if name in ("valueBoolean", "preferred") else text
    return _object(node, name)


def _number(text: str) -> float | int | str:
    """The number; invalid text is kept and left to the reader of the Observation."""
    try:
        return float(text) if set(text) & set(".eE") else int(text)
    except ValueError:
        return text


def _name(node: Element) -> str:
    if not node.tag.startswith(NAMESPACE):
        raise ValueError("not FHIR")
    return node.tag.removeprefix(NAMESPACE)
