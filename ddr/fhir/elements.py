"""The table of FHIR R4 elements: their order in XML, their types, and which are attributes or repeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import orjson

TABLE = Path(__file__).with_name("element_order.json")  # made by tools/make_element_order.py


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type."""

    name: str
    type: str  # FHIR type: primitive (lower case), complex, backbone (ObservationComponent), "Resource" or "xhtml"
    many: bool
    attribute: bool  # XML writes it as an attribute of its parent
    primitive: bool = field(init=False)  # has a value rather than children

    def __post_init__(self) -> None:
        object.__setattr__(self, "primitive", self.type[0].islower() and self.type != "xhtml")


@dataclass(frozen=True, slots=True)
class Shape:
    """The elements of one type. The keys include the "_name" twins of primitives, which have the same Element."""

    elements: dict[str, Element]
    order: dict[str, int]
    attributes: tuple[str, ...]  # ("id",), and ("id", "url") for Extension


def _shape(cells: dict[str, str]) -> Shape:
    elements: dict[str, Element] = {}
    order: dict[str, int] = {"resourceType": -1}
    for position, (name, cell) in enumerate(cells.items()):
        element = Element(name, cell.strip("@*"), cell.endswith("*"), cell.startswith("@"))
        for key in (name, "_" + name) if element.primitive else (name,):
            elements[key] = element
            order[key] = position
    return Shape(
        elements, order, tuple(name for name, element in elements.items() if element.attribute and name[0] != "_")
    )


SHAPES = {name: _shape(cells) for name, cells in orjson.loads(TABLE.read_bytes()).items()}
RESOURCES = frozenset(name for name, shape in SHAPES.items() if "implicitRules" in shape.elements)
