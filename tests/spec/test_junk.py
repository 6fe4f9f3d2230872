"""Whatever is sent to a FHIR route over TLS is answered: never by a 500, refusals by an OperationOutcome (area RS)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from ddr.fhir.search.grammar import CONTROLS, IMPLICIT, PARAMETERS, REPRESENTATION
from tests.spec.wire import Answer, Wire
from tests.spec.world import Scene

BOUNDED = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
TYPES = tuple(PARAMETERS)


def words(text: str) -> st.SearchStrategy[str]:
    """Any one of these strings."""
    return st.sampled_from(text.split())


# Methods that the HTTP parser knows; CONNECT has no path.
METHODS = words("GET HEAD POST PUT PATCH DELETE OPTIONS TRACE PURGE SEARCH PROPFIND LOCK")
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.one_of(
    st.sampled_from([name for table in PARAMETERS.values() for name in table]),
    st.sampled_from(sorted(CONTROLS | IMPLICIT | REPRESENTATION)),
    words("_page _include:iterate _has:Observation:device:code _has:DeviceMetric:source:_has:x:y:z _has: _sort: :"),
    words("_type _filter _query device-name:exact date:missing code:in code.system"),
)
VALUES = st.one_of(
    words(r"2339-0 http://loinc.org|2339-0 | a|b|c a\ \,\$\|\\ , $ 8480-6$gt1 $$ ||| % + &"),
    words("2026 ge2026-11-22T10:00:00+14:00 0000 0001 9999-12-31T23:59:60Z ap0001-01-01 gt 2026-02-30"),
    words("5.4 1e99 -1e-99 ap0 lt5|http://unitsofmeasure.org|mg/dL 5|| +.5 NaN 0 -1 true -"),
    words("Observation:device * Device: DeviceMetric:source:Device -date date,-code json xml text/turtle"),
    words("Device/x Device/../../x https://else.example/Device/1"),
    st.sampled_from(["0" * 32, "f" * 32, "9" * 40, "A" * 3000, "' OR 1=1 --"]),
    st.sampled_from(["\x00", "\x7f", "\ufffe", "\U0001f600"]),
)
PAIRS = st.lists(st.tuples(NAMES | ANYTHING, VALUES | ANYTHING), max_size=4)
FORMS = PAIRS.map(lambda pairs: "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs))
QUERIES = FORMS | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=20)
SEGMENTS = st.one_of(
    st.sampled_from([*TYPES, "0" * 32, ""]),
    words("metadata _search _history $hddt-cgm-summary Patient 1 .. . %2F %00 %ff"),
    ANYTHING.map(lambda text: quote(text, safe="")),
)
PATHS = st.lists(SEGMENTS, max_size=5).map("/".join)
HEADER_NAMES = st.one_of(
    words("accept content-type content-encoding prefer authorization if-none-match if-modified-since range"),
    words("x-http-method-override cookie accept-charset accept-encoding x-forwarded-for client-cert"),
)
HEADER_VALUES = st.one_of(
    words("application/fhir+json application/fhir+xml text/turtle */*;q=0 application/json;q=x ;;,= gzip"),
    st.sampled_from(["application/x-www-form-urlencoded", "application/fhir+json; fhirVersion=5.0; charset=utf-16"]),
    st.sampled_from(["handling=lenient", "Thu, 01 Jan 1970 00:00:00 GMT", "bytes=0-1", "DELETE", 'W/"1"']),
    st.sampled_from(["Bearer", "Bearer a.b.c", "Bearer eyJ9.e30.x", "Basic Og=="]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), min_size=1, max_size=20),
)
HEADERS = st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | VALUES | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | ANYTHING, inner, max_size=3),
    max_leaves=6,
)
BODIES = st.one_of(
    st.binary(max_size=60),
    JSON.map(orjson.dumps),
    FORMS.map(str.encode),
    st.sampled_from([b"x" * 70_000, b'{"code":' * 2000, b"<Parameters xmlns='http://hl7.org/fhir'/>", b"\x1f\x8b\x08"]),
)


@pytest.fixture
async def wire(scene: Scene) -> AsyncIterator[Wire]:
    """A connection of a paired DiGA."""
    wire = Wire(scene.reader)
    yield wire
    await wire.close()


def described(answer: Answer, method: str) -> None:
    """The response is a success, or a refusal that says why."""
    assert answer.status < 500, answer
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if method == "HEAD":
        assert answer.body == b""
    elif answer.status >= 400:
        kind, issue = outcome(answer)
        assert kind == "OperationOutcome"
        assert issue


def outcome(answer: Answer) -> tuple[str, Any]:
    """Type and issues of the resource in the body."""
    if answer.headers["content-type"].startswith("application/fhir+xml"):
        root = etree.fromstring(answer.body)
        return etree.QName(root).localname, root.findall("{http://hl7.org/fhir}issue")
    assert answer.headers["content-type"].startswith("application/fhir+json"), answer
    resource = orjson.loads(answer.body)
    return resource["resourceType"], resource["issue"]


@pytest.mark.requirement("RS-031", "RS-019")
@pytest.mark.parametrize("kind", TYPES)
@BOUNDED
@given(query=QUERIES)
async def test_any_query(wire: Wire, kind: str, query: str) -> None:
    described(await wire.send("GET", f"/fhir/{kind}?{query}", []), "GET")


@pytest.mark.requirement("RS-031", "RS-019")
@BOUNDED
@given(kind=st.sampled_from(TYPES), headers=HEADERS, body=BODIES, query=QUERIES)
async def test_any_body(wire: Wire, kind: str, headers: list[tuple[str, str]], body: bytes, query: str) -> None:
    described(await wire.send("POST", f"/fhir/{kind}/_search?{query}", headers, body), "POST")


@pytest.mark.requirement("RS-031", "RS-019")
@BOUNDED
@given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS, body=BODIES | st.just(b""))
async def test_any_request(
    wire: Wire, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    target = f"/fhir/{path}" + (f"?{query}" if query else "")
    described(await wire.send(method, target, headers, body), method)


@pytest.mark.requirement("RS-031", "RS-019")
@BOUNDED
@given(data=st.data())
async def test_any_id_and_version(wire: Wire, scene: Scene, data: st.DataObject) -> None:
    known = st.sampled_from(sorted(scene.home.ids.values()))
    kind, logical_id = data.draw(st.sampled_from(TYPES)), data.draw(known | SEGMENTS)
    version = data.draw(st.none() | st.sampled_from(["0", "1", "2", "-1", "1e1", "٣", "9" * 30]) | ANYTHING)
    history = "" if version is None else f"/_history/{quote(version, safe='')}"
    described(await wire.send("GET", f"/fhir/{kind}/{logical_id}{history}", data.draw(HEADERS)), "GET")
