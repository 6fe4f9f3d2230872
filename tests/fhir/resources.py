"""Hypothesis strategies: arbitrary resources of every type in the table, with twins, ids, extensions, nesting."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

from hypothesis import strategies as st

from ddr.fhir.elements import RESOURCES, SHAPES, Element

TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r&<>\"'"),
    min_size=1,
    max_size=12,
)
DECIMAL = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-(10**20), 10**20), st.integers(-25, 8)
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "positiveInt": st.integers(1, 2**31 - 1),
    "unsignedInt": st.integers(0, 2**31 - 1),
    "decimal": DECIMAL,
}
TWIN = st.one_of(
    st.builds(lambda text: {"id": text}, TEXT),
    st.builds(lambda url, text: {"extension": [{"url": url, "valueString": text}]}, TEXT, TEXT),
)
# The canonical form of XHTML, which is the form that reading XML gives.
NARRATIVE = st.builds(
    lambda plain, bold: f'<div xmlns="http://www.w3.org/1999/xhtml">{plain}<b class="x">{bold}</b></div>',
    *[TEXT.map(lambda text: escape(text.replace("\r", " ")))] * 2,
)


@st.composite
def resources(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    """A resource; `depth` limits nesting."""
    name = draw(st.sampled_from(sorted(RESOURCES)))
    return {"resourceType": name, **draw(contents(name, depth))}


@st.composite
def contents(draw: st.DrawFn, name: str, depth: int) -> dict[str, Any]:
    """The elements of one type, at least one of them."""
    elements = [element for key, element in SHAPES[name].elements.items() if key[0] != "_"]
    simple = [element for element in elements if depth > 0 or element.primitive or element.type == "xhtml"]
    found: dict[str, Any] = {"url": draw(TEXT)} if name == "Extension" else {}
    for element in draw(st.lists(st.sampled_from(simple), min_size=1, max_size=4, unique_by=lambda e: e.name)):
        found.update(draw(primitive(element) if element.primitive else complex_value(element, depth - 1)))
    return found


@st.composite
def complex_value(draw: st.DrawFn, element: Element, depth: int) -> dict[str, Any]:
    """An element with children, or a narrative."""
    if element.type == "xhtml":
        return {element.name: draw(NARRATIVE)}
    one = resources(depth) if element.type == "Resource" else contents(element.type, depth)
    return {element.name: draw(st.lists(one, min_size=1, max_size=2) if element.many else one)}


@st.composite
def primitive(draw: st.DrawFn, element: Element) -> dict[str, Any]:
    """A primitive under its name, its twin under "_name", or both; lists stay aligned by nulls."""
    value = VALUES.get(element.type, TEXT)
    if element.attribute:
        return {element.name: draw(TEXT)}
    pairs = st.one_of(st.tuples(value, st.none()), st.tuples(st.none(), TWIN), st.tuples(value, TWIN))
    drawn = draw(st.lists(pairs, min_size=1, max_size=3 if element.many else 1))
    found: dict[str, Any] = {}
    for key, items in ((element.name, [pair[0] for pair in drawn]), ("_" + element.name, [pair[1] for pair in drawn])):
        if any(item is not None for item in items):
            found[key] = items if element.many else items[0]
    return found
