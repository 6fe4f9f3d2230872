"""FHIR XML: equal to JSON for arbitrary resources, readable by others, and closed to attacks."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from fhir.resources.R4B.observation import Observation
from hypothesis import given, settings
from lxml import etree

from ddr.fhir.elements import SHAPES
from ddr.fhir.negotiation import Format
from ddr.fhir.outcome import FhirError
from ddr.fhir.representation import parse, render
from ddr.fhir.xml_writer import XmlError
from tests.fhir.resources import resources

FHIR = "{http://hl7.org/fhir}"

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "device": {"reference": "Device/1"},
    "note": [{"text": 'a "b" <c> & d\te\nf\rg ünï 🩺'}],
    "component": [
        {
            "valueQuantity": {"code": "mm[Hg]", "value": Decimal("120.50"), "unit": "mmHg"},
            "code": {"text": "systolic"},
            "id": "c1",
        }
    ],
    "meta": {"tag": [{"userSelected": True}], "versionId": "1", "profile": ["http://a", "http://b"]},
    "text": {"div": '<div xmlns="http://www.w3.org/1999/xhtml">x <b>y</b></div>', "status": "generated"},
    "_status": {"id": "s1", "extension": [{"url": "http://u", "valueInteger": 3}]},
    "status": "final",
    "code": {"coding": [{"code": "1", "system": "http://loinc.org"}]},
    "contained": [{"resourceType": "Device", "id": "d"}],
    "_effectiveDateTime": {"extension": [{"valueCode": "unknown", "url": "http://v"}]},
    "id": "o1",
}


def exact(value: Any) -> Any:
    """`value` with numbers as their digits, so that 1.0 and 1.00 differ."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return f"number {value}" if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value


@settings(max_examples=100, deadline=None)
@given(resources())
def test_round_trips(resource: dict[str, Any]) -> None:
    from_json = parse(render(resource, Format.JSON), Format.JSON)
    from_xml = parse(render(resource, Format.XML), Format.XML)
    assert exact(from_json) == exact(resource)
    assert exact(from_xml) == exact(resource)
    assert parse(render(resource, Format.XML, pretty=True), Format.XML) == from_xml
    assert parse(render(resource, Format.JSON, pretty=True), Format.JSON) == from_json


@settings(max_examples=30, deadline=None)
@given(resources())
def test_elements_are_in_table_order(resource: dict[str, Any]) -> None:
    root = etree.fromstring(render(resource, Format.XML))
    order = list(SHAPES[resource["resourceType"]].elements)
    positions = [order.index(child.tag.removeprefix(FHIR)) for child in root if child.tag.startswith(FHIR)]
    assert all(first <= second for first, second in itertools.pairwise(positions))


def test_document() -> None:
    assert render(OBSERVATION, Format.XML).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<Observation xmlns="http://hl7.org/fhir"><id value="o1"/>'
        '<meta><versionId value="1"/><profile value="http://a"/><profile value="http://b"/>'
        '<tag><userSelected value="true"/></tag></meta>'
        '<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml">x <b>y</b></div></text>'
        '<contained><Device><id value="d"/></Device></contained>'
        '<status id="s1" value="final"><extension url="http://u"><valueInteger value="3"/></extension></status>'
        '<code><coding><system value="http://loinc.org"/><code value="1"/></coding></code>'
        '<effectiveDateTime><extension url="http://v"><valueCode value="unknown"/></extension></effectiveDateTime>'
        '<note><text value="a &quot;b&quot; &lt;c&gt; &amp; d&#9;e&#10;f&#13;g ünï 🩺"/></note>'
        '<device><reference value="Device/1"/></device>'
        '<component id="c1"><code><text value="systolic"/></code>'
        '<valueQuantity><value value="120.50"/><unit value="mmHg"/><code value="mm[Hg]"/></valueQuantity></component>'
        "</Observation>"
    )


@pytest.mark.parametrize(
    ("character", "written"),
    [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\t", "&#9;"), ("\n", "&#10;"), ("'", "'")],
)
def test_each_character_is_written_so_that_it_comes_back(character: str, written: str) -> None:
    """Alone among plain letters, as a manufacturer's name or a note may have it."""
    resource = {"resourceType": "Device", "manufacturer": f"A{character}B"}
    document = render(resource, Format.XML)
    assert f'<manufacturer value="A{written}B"/>' in document.decode()
    assert parse(document, Format.XML) == resource


def test_another_library_reads_the_same() -> None:
    unread = {"text", "component", "_status", "_effectiveDateTime"}  # fhir.resources drops element ids
    plain = {key: value for key, value in OBSERVATION.items() if key not in unread}
    read = Observation.model_validate_xml(render(plain, Format.XML))
    assert read.model_dump() == Observation.model_validate_json(render(plain, Format.JSON)).model_dump()


def test_pretty_has_one_element_per_line() -> None:
    lines = render({"resourceType": "Device", "id": "d", "type": {"text": "t"}}, Format.XML, pretty=True).splitlines()
    assert lines[2:] == [b'  <id value="d"/>', b"  <type>", b'    <text value="t"/>', b"  </type>", b"</Device>"]


def test_narratives_of_other_namespaces_are_refused() -> None:
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><svg xmlns="http://www.w3.org/2000/svg"/></div>'
    with pytest.raises(FhirError):
        parse(parameters(f"<text><status value='generated'/>{div}</text>").encode(), Format.XML)


@pytest.mark.parametrize(
    "part",
    [
        {"nonsense": 1},
        {"resourceType": "Practitioner"},
        {"status": "a\x00b"},
        {"status": "a\x1bb"},
        {"status": "\ud800"},
        {"text": {"div": "<div>no namespace</div>"}},
        {"text": {"div": '<p xmlns="http://www.w3.org/1999/xhtml">no div</p>'}},
        {"text": {"div": "<div"}},
        {"text": {"div": '<!DOCTYPE div><div xmlns="http://www.w3.org/1999/xhtml"/>'}},
    ],
)
def test_what_xml_cannot_carry(part: dict[str, Any]) -> None:
    with pytest.raises(XmlError):
        render({"resourceType": "Observation", **part}, Format.XML)


BOMB = """<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="&b;"/></parameter></Parameters>"""
EXTERNAL = (
    """<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><Parameters xmlns="http://hl7.org/fhir">&x;</Parameters>"""
)


def parameters(content: str) -> str:
    return f'<Parameters xmlns="http://hl7.org/fhir">{content}</Parameters>'


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<",
        "<Parameters/>",
        '<Parameters xmlns="http://hl7.org/fhir">',
        '<Practitioner xmlns="http://hl7.org/fhir"/>',
        BOMB,
        EXTERNAL,
        '<!DOCTYPE p SYSTEM "http://127.0.0.1/x.dtd"><Parameters xmlns="http://hl7.org/fhir"/>',
        parameters("text"),
        parameters("<unknown/>"),
        parameters("<_id value='x'/>"),
        parameters("<id value=''/>"),
        parameters("<id/>"),
        parameters("<id value='x'/><id value='y'/>"),
        parameters("<id value='x' other='y'/>"),
        parameters("<id value='x'/>tail"),
        parameters("<parameter><name value='related'/><valueBoolean value='yes'/></parameter>"),
        parameters("<parameter><name value='n'/><valueInteger value='1.5'/></parameter>"),
        parameters("<parameter><name value='n'/><valueDecimal value='NaN'/></parameter>"),
        parameters("<parameter><resource/></parameter>"),
        parameters("<parameter/>"),
        parameters("<parameter id=''><name value='n'/></parameter>"),
        parameters("<" + "x" * 5000 + "/>"),
        parameters("<id xmlns='http://other' value='x'/>"),
        parameters("<div xmlns='http://www.w3.org/1999/xhtml'/>"),
        parameters("<parameter>" + "<part>" * 5000 + "</part>" * 5000 + "</parameter>"),
        '<?xml version="1.0" encoding="nonsense"?><Parameters xmlns="http://hl7.org/fhir"/>',
    ],
)
def test_malformed_xml(document: str) -> None:
    with pytest.raises(FhirError) as caught:
        parse(document.encode(), Format.XML)
    assert (caught.value.status, caught.value.details_code) == (400, "MSG_BAD_SYNTAX")
    assert len(caught.value.diagnostics or "") < 300


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"{}",
        b'{"resourceType": 1}',
        b'{"resourceType": "Parameters", "x": NaN}',
        b"\xff",
        b"[" * 60_000,
    ],
)
def test_malformed_json(document: bytes) -> None:
    with pytest.raises(FhirError) as caught:
        parse(document, Format.JSON)
    assert (caught.value.status, caught.value.details_code) == (400, "MSG_BAD_SYNTAX")


def test_comments_schema_location_and_encodings_are_understood() -> None:
    document = (
        '<?xml version="1.0" encoding="UTF-16"?><!-- c --><Parameters xmlns="http://hl7.org/fhir" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://hl7.org/fhir x.xsd">'
        "<!-- d --> <id value='ü'/> </Parameters>"
    )
    assert parse(document.encode("utf-16"), Format.XML) == {"resourceType": "Parameters", "id": "ü"}


def test_json_with_byte_order_mark() -> None:
    assert parse(b'\xef\xbb\xbf{"resourceType":"Parameters"}', Format.JSON) == {"resourceType": "Parameters"}


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(TypeError):
        render({"resourceType": "Observation", "value": Decimal("NaN")}, Format.JSON)
