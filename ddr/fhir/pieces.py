"""Resources as bytes that are joined to a document: a resource that was rendered once is a piece of any document.

A piece is what stands in the place of the resource: the object in JSON, the element without namespace in XML. The
result is byte for byte what `ddr.fhir.representation.render` makes of the whole (tests check that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import uuid4

import orjson

from ddr.fhir.bundle import OUTCOME, search_bundle
from ddr.fhir.negotiation import Format
from ddr.fhir.representation import render
from ddr.fhir.xml_writer import attribute_text, head_of, xml_piece

Resource = Mapping[str, Any]


def piece(resource: Resource, fmt: Format) -> bytes:
    """The resource as a piece. Raises XmlError."""
    return xml_piece(resource) if fmt is Format.XML else render(resource, fmt)


def document(resource_type: str, content: bytes, fmt: Format) -> bytes:
    """A piece as a document of its own."""
    if fmt is Format.JSON:
        return content
    return head_of(resource_type) + content[len(resource_type) + 2 :]


def entry_pieces(base: str, fmt: Format) -> Callable[[str, str, str, bytes], bytes]:
    """A function that makes an entry of a searchset from mode, type, id and piece of a resource.

    `base` is the FHIR base URL without trailing slash; an OperationOutcome gets a temporary identity, whatever its id.
    """
    if fmt is Format.XML:
        address, form = attribute_text(base).encode(), _XML_ENTRY
    else:
        address, form = orjson.dumps(base)[1:-1], _JSON_ENTRY

    def entry(mode: str, resource_type: str, logical_id: str, content: bytes) -> bytes:
        if mode == OUTCOME:
            url = uuid4().urn.encode()
        else:
            url = b"%b/%b/%b" % (address, resource_type.encode(), logical_id.encode())
        return form % (url, content, mode.encode())

    return entry


_JSON_ENTRY = b'{"fullUrl":"%b","resource":%b,"search":{"mode":"%b"}}'
_XML_ENTRY = (
    b'<entry><fullUrl value="%b"/><resource>%b</resource><search><mode value="%b"/></search></entry>'  # in table order
)


def search_document(
    entries: Iterable[bytes], links: Mapping[str, str], total: int | None, updated: str | None, fmt: Format
) -> bytes:
    """A searchset of finished entries, else as `ddr.fhir.bundle.search_bundle`. Entries come last in both formats."""
    empty = render(search_bundle("", (), links, total, updated), fmt)
    if fmt is Format.XML:
        return b"".join((empty[: -len(_END)], *entries, _END))
    joined = b",".join(entries)
    return b'%b,"entry":[%b]}' % (empty[:-1], joined) if joined else empty


_END = b"</Bundle>"
