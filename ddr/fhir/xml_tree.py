"""XML into a tree of nodes that is counted as it grows: reading stops at too many elements or levels.

Documents with a DTD are refused where it begins, so there are no entities.
"""

from __future__ import annotations

from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ddr.fhir.bounds import MOST_DEPTH, MOST_ELEMENTS, TooMuch
from ddr.fhir.xml_writer import XmlError

# After a handler has refused, expat continues to the end of its input, and restarts an incomplete token when the next
# piece arrives. So pieces are small, and no token (a tag with its attributes) may be longer than a few of them.
PIECE = 65_536
LONGEST_TOKEN = 4 * PIECE


def read_tree(body: bytes) -> Element:
    """The root of the document, names as `{namespace}local`; comments and processing instructions are dropped.

    Raises TooMuch, XmlError (too deep), ValueError (a DTD), ExpatError, LookupError (an unknown encoding).
    """
    tree = _Tree()
    try:
        for at in range(0, len(body), PIECE):
            tree.feed(body[at : at + PIECE], at)
        return tree.close()
    finally:
        tree.let_go()


class _Tree:
    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._names: dict[str, str] = {}
        self._count = self._depth = 0
        parser = self._parser = expat.ParserCreate(None, "}")
        parser.buffer_text = parser.ordered_attributes = True
        parser.StartDoctypeDeclHandler = _no_dtd
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._builder.data

    def feed(self, piece: bytes, fed: int) -> None:
        """Parse the next piece, after `fed` bytes."""
        self._parser.Parse(piece, False)
        if fed + len(piece) - max(self._parser.CurrentByteIndex, 0) > LONGEST_TOKEN:
            raise TooMuch(f"A tag is longer than {LONGEST_TOKEN} bytes")

    def close(self) -> Element:
        """The root, at the end of the document."""
        self._parser.Parse(b"", True)
        return self._builder.close()

    def let_go(self) -> None:
        """Break the cycle with the parser; otherwise only Python's collector would free the whole document."""
        parser = self._parser
        parser.StartElementHandler = parser.EndElementHandler = parser.CharacterDataHandler = None

    def _start(self, name: str, attributes: list[str]) -> None:
        self._count += 1 + len(attributes) // 2
        self._depth += 1
        if self._count > MOST_ELEMENTS:
            raise TooMuch(f"The document has more than {MOST_ELEMENTS} elements and attributes")
        if self._depth > MOST_DEPTH:
            raise XmlError(f"it has more than {MOST_DEPTH} levels")
        pairs = zip(map(self._name, attributes[::2]), attributes[1::2], strict=True)
        self._builder.start(self._name(name), dict(pairs))

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(self._name(name))

    def _name(self, raw: str) -> str:
        name = self._names.get(raw)
        if name is None:
            name = self._names[raw] = "{" + raw if "}" in raw else raw
        return name


def _no_dtd(*_: object) -> NoReturn:
    raise ValueError("a document type declaration")
