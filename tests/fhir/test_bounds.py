"""Documents from outside are bounded in values, elements, levels and digits, and rejecting them is cheap."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.bounds import MOST_DEPTH, MOST_ELEMENTS, MOST_VALUES, TooMuch, check_json
from ddr.fhir.negotiation import Format
from ddr.fhir.outcome import FhirError
from ddr.fhir.representation import parse

LARGE = 8 * 1024 * 1024
CPU_SECONDS = 3.0  # far more than a refusal takes, far less than reading it all did (15 s for <a/>)


def filled(head: bytes, unit: bytes, tail: bytes, size: int = LARGE) -> bytes:
    """A document of about `size` bytes that repeats `unit`."""
    return (head + unit * ((size - len(head) - len(tail)) // len(unit))).rstrip(b",") + tail


XML = b'<Bundle xmlns="http://hl7.org/fhir"><type value="batch"/>'
JSON = b'{"resourceType":"Bundle","type":"batch","entry":['
DOCUMENTS = {
    "elements": (Format.XML, filled(XML, b"<a/>", b"</Bundle>")),
    "entries": (Format.XML, filled(XML, b"<entry/>", b"</Bundle>")),
    "attributes": (Format.XML, XML + b"<entry " + b" ".join(b'a%d=""' % i for i in range(300_000)) + b"/></Bundle>"),
    "attributes of many": (Format.XML, filled(XML, b'<entry a="" b="" c="" d="" e="" f=""/>', b"</Bundle>")),
    "empty arrays": (Format.JSON, filled(JSON, b"[],", b"]}")),
    "empty objects": (Format.JSON, filled(JSON, b"{},", b"]}")),
    "decimals": (Format.JSON, filled(JSON, b"1.1,", b"]}")),
    "members": (Format.JSON, JSON + b"{" + b",".join(b'"%x":0' % i for i in range(700_000)) + b"}]}"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_too_many_parts_are_refused_before_they_are_read(name: str) -> None:
    fmt, body = DOCUMENTS[name]
    began = time.process_time()
    with pytest.raises(FhirError) as caught:
        parse(body, fmt)
    assert time.process_time() - began < CPU_SECONDS
    assert (caught.value.status, caught.value.code) == (413, "too-costly")
    assert any(str(bound) in (caught.value.diagnostics or "") for bound in (MOST_VALUES, MOST_ELEMENTS, 262_144))


@pytest.mark.parametrize(
    ("fmt", "body"),
    [
        (Format.XML, XML + b"<entry>" * 1_000_000 + b"</entry>" * 1_000_000 + b"</Bundle>"),
        (Format.XML, XML + b"<entry>" * MOST_DEPTH + b"</entry>" * MOST_DEPTH + b"</Bundle>"),
        (Format.JSON, JSON + b"[" * 200_000),
        (Format.JSON, JSON + b'{"":' * 100_000),
        (Format.JSON, JSON + b"1" * 1_000_000 + b"]}"),
        (Format.JSON, JSON + b"1." + b"1" * 1_000_000 + b"]}"),
        (Format.JSON, JSON + b"1e999999999999999999999]}"),
        (Format.JSON, JSON + b"1E+1000000]}"),
    ],
)
def test_levels_and_digits_are_bounded(fmt: Format, body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(FhirError) as caught:
        parse(body, fmt)
    assert (caught.value.status, caught.value.details_code) == (400, "MSG_BAD_SYNTAX")
    assert time.process_time() - began < CPU_SECONDS


def test_an_honest_upload_of_50_000_readings_is_no_problem() -> None:
    readings = [{"time": "2026-11-22T10:00:00+01:00", "value": 100.5, "unit": "mg/dL"}] * 50_000
    check_json(orjson.dumps({"unit": "mg/dL", "readings": readings}))


def values(found: Any) -> int:
    """How many values a document holds."""
    match found:
        case dict():
            return 1 + sum(map(values, found.values()))
        case list():
            return 1 + sum(map(values, found))
        case _:
            return 1


@given(st.recursive(st.text() | st.integers(0, 9), lambda some: st.lists(some) | st.dictionaries(st.text(), some)))
def test_no_document_has_more_values_than_are_counted(found: Any) -> None:
    body = orjson.dumps(found)
    counted = sum(map(body.count, (b",", b"[", b"{")))
    assert values(found) <= 2 * counted + 1


def test_what_is_counted_is_refused() -> None:
    check_json(b"[" + b"1," * (MOST_VALUES - 1) + b"1]")
    with pytest.raises(TooMuch):
        check_json(b"[" + b"1," * MOST_VALUES + b"1]")
