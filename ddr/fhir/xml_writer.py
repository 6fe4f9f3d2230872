"""FHIR resources as XML, written straight from their JSON shape (FHIR R4 xml.html).

The caller hands in a resource as a dict in FHIR JSON form; element order and kinds come from `ddr.fhir.elements`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from defusedxml.ElementTree import fromstring

from ddr.fhir.characters import FORBIDDEN
from ddr.fhir.elements import RESOURCES, SHAPES, Element

FHIR_NAMESPACE = "http://hl7.org/fhir"
XHTML_NAMESPACE = "http://www.w3.org/1999/xhtml"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_NAMESPACE = f' xmlns="{FHIR_NAMESPACE}"'
_ENTITIES = {'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}  # a parser would turn bare ones into blanks

Put = Callable[[str], None]


class XmlError(ValueError):
    """No XML form: an unknown element or type, a forbidden character, or a narrative that is not XHTML."""


def write_xml(resource: Mapping[str, Any], pretty: bool = False) -> bytes:
    """The XML document of a resource. Raises XmlError."""
    tags = [_DECLARATION, *_tags(resource, _NAMESPACE)]
    return ("\n".join(_indented(tags)) if pretty else "".join(tags)).encode()


def xml_piece(resource: Mapping[str, Any]) -> bytes:
    """The resource as an element of another one, which has the declaration and the namespace. Raises XmlError."""
    return "".join(_tags(resource)).encode()


def head_of(resource_type: str) -> bytes:
    """What a document has instead of the first tag of a piece."""
    return f"{_DECLARATION}<{resource_type}{_NAMESPACE}>".encode()


def _tags(resource: Mapping[str, Any], attributes: str = "") -> list[str]:
    tags: list[str] = []
    try:
        _resource(tags.append, resource, attributes)
    except KeyError as error:
        raise XmlError(f"unknown element or type {error}") from None
    return tags


def _indented(tags: Iterable[str]) -> Iterator[str]:
    """Puts every tag on its own line; nothing is added inside narratives, which are one tag here."""
    depth = 0
    for tag in tags:
        closes = tag.startswith("</")
        depth -= closes
        yield "  " * depth + tag
        depth += not (closes or tag.endswith("/>") or tag is _DECLARATION or "</" in tag)


def _resource(put: Put, resource: Mapping[str, Any], attributes: str = "") -> None:
    name = resource["resourceType"]
    if name not in RESOURCES:
        raise KeyError(name)
    put(f"<{name}{attributes}>")
    _children(put, resource, _layout(name, tuple(resource)))
    put(f"</{name}>")


class _Layout(NamedTuple):
    """How nodes of one type with the same keys are written."""

    attributes: tuple[str, ...]
    children: tuple[Element, ...]  # in order
    twins: frozenset[str]  # names of those children that have a "_name" besides or instead of their value


@lru_cache(maxsize=4096)
def _layout(type_name: str, keys: tuple[str, ...]) -> _Layout:
    """The layout of `keys`. Raises KeyError for a key that the type does not have."""
    shape = SHAPES[type_name]
    ordered = (shape.elements.get(key) for key in sorted(keys, key=shape.order.__getitem__))
    # resourceType is not an element but the name of the tag; attributes are in the tag.
    children = tuple(dict.fromkeys(element for element in ordered if element and not element.attribute))
    attributes = tuple(name for name in shape.attributes if name in keys)
    return _Layout(attributes, children, frozenset(key[1:] for key in keys if key[0] == "_"))


def _children(put: Put, node: Mapping[str, Any], layout: _Layout) -> None:
    for element in layout.children:
        name = element.name
        if not element.primitive:
            for item in node[name] if element.many else (node[name],):
                _complex(put, element, item)
        elif element.many or name in layout.twins:
            _primitives(put, element, node.get(name), node.get("_" + name))
        else:
            put(f'<{name} value="{attribute_text(node[name])}"/>')


def _complex(put: Put, element: Element, value: Any) -> None:
    name = element.name
    if element.type == "xhtml":
        put(_xhtml(value))
    elif element.type == "Resource":
        put(f"<{name}>")
        _resource(put, value)
        put(f"</{name}>")
    else:
        layout = _layout(element.type, tuple(value))
        put(f"<{name}{_attributes(value, layout.attributes)}>" if layout.attributes else f"<{name}>")
        _children(put, value, layout)
        put(f"</{name}>")


def _attributes(value: Mapping[str, Any], names: Sequence[str]) -> str:
    return "".join(f' {name}="{attribute_text(value[name])}"' for name in names if name in value)


def _primitives(put: Put, element: Element, value: Any, twin: Any) -> None:
    if not element.many:
        _primitive(put, element.name, value, twin)
        return
    values: Sequence[Any] = value or ()
    twins: Sequence[Any] = twin or ()
    for one, other in zip_longest(values, twins):
        _primitive(put, element.name, one, other)


def _primitive(put: Put, name: str, value: Any, twin: Mapping[str, Any] | None) -> None:
    text = "" if value is None else f' value="{attribute_text(value)}"'
    if not twin:
        put(f"<{name}{text}/>")
        return
    put(f"<{name}{_attributes(twin, ('id',))}{text}>")
    for extension in twin.get("extension", ()):
        _complex(put, _EXTENSION, extension)
    put(f"</{name}>")


_EXTENSION = SHAPES["Observation"].elements["extension"]


def attribute_text(value: Any) -> str:
    """A primitive value as the content of an attribute. Raises XmlError for a character that XML cannot carry."""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if value.isascii() and value.isprintable() and not ("&" in value or "<" in value or ">" in value or '"' in value):
        return value
    if FORBIDDEN.search(value):
        raise XmlError("a string holds a character that XML cannot carry")
    return escape(value, _ENTITIES)


def _xhtml(text: Any) -> str:
    """A narrative as it is, after checking that it is one well-formed XHTML div."""
    try:
        root = fromstring(text, forbid_dtd=True)
    except (SyntaxError, ValueError, TypeError):
        raise XmlError("the narrative is not well-formed XHTML") from None
    if root.tag != f"{{{XHTML_NAMESPACE}}}div":
        raise XmlError("the narrative is not an XHTML div")
    return str(text)
