"""Which representation a request gets, and which bodies are understood."""

from __future__ import annotations

import tracemalloc

import pytest

from ddr.fhir.negotiation import Format, check_content_type, error_format, negotiate, wants_pretty
from ddr.fhir.outcome import FhirError

JSON, XML = Format.JSON, Format.XML
FORMAT_TEXT = "Requested format not supported. Supported formats: application/fhir+json, application/fhir+xml"
VERSION_TEXT = "FHIR version not supported. This server supports FHIR R4 (version 4.0.1)"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/fhir+json", JSON),
        ("application/json", JSON),
        ("text/json", JSON),
        ("Application/FHIR+XML", XML),
        ("application/xml", XML),
        ("text/xml", XML),
        ("application/fhir+json;q=0.5, application/fhir+xml", XML),
        ("application/fhir+xml, application/fhir+json", XML),
        ("application/fhir+json, application/fhir+xml", JSON),
        ("application/fhir+json;q=0, */*", XML),
        ("application/fhir+xml;q=0.2, */*;q=0.1", XML),
        ("text/turtle, application/xml;q=0.1", XML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", XML),
        ("application/fhir+json; fhirVersion=4.0", JSON),
        ('application/fhir+xml; fhirVersion="4.0"; charset=UTF-8', XML),
        ("application/fhir+json; fhirVersion=5.0, application/fhir+xml; fhirVersion=4.0", XML),
        ("application/fhir+xml;q=high, application/fhir+json;q=0.1", JSON),
    ],
)
def test_accept(accept: str | None, expected: Format) -> None:
    assert negotiate({} if accept is None else {"accept": accept}, {}) is expected


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("text/turtle", FORMAT_TEXT),
        ("text/html", FORMAT_TEXT),
        ("application/fhir+json;q=0", FORMAT_TEXT),
        ("application/fhir+json; charset=iso-8859-1", FORMAT_TEXT),
        ("nonsense", FORMAT_TEXT),
        (",;=", FORMAT_TEXT),
        ("application/fhir+json; fhirVersion=5.0", VERSION_TEXT),
        ("application/fhir+xml; fhirVersion=4.3", VERSION_TEXT),
        ("application/fhir+json; fhirVersion=3.0, text/turtle", VERSION_TEXT),
    ],
)
def test_not_acceptable(accept: str, text: str) -> None:
    with pytest.raises(FhirError) as caught:
        negotiate({"accept": accept}, {})
    assert (caught.value.status, caught.value.code, caught.value.diagnostics) == (406, "not-supported", text)
    assert error_format({"accept": accept}, {}) is JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("json", JSON),
        ("xml", XML),
        ("application/json", JSON),
        ("text/xml", XML),
        ("application/fhir+xml", XML),
        ("application/fhir xml", XML),
        ("application/fhir+xml; fhirVersion=4.0", XML),
        ("application/fhir xml; fhirVersion=4.0", XML),
    ],
)
def test_format_parameter_wins_over_accept(value: str, expected: Format) -> None:
    other = XML if expected is JSON else JSON
    assert negotiate({"accept": other.value}, {"_format": value}) is expected
    assert error_format({"accept": other.value}, {"_format": value}) is expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ttl", FORMAT_TEXT),
        ("", FORMAT_TEXT),
        ("html", FORMAT_TEXT),
        ("xml; fhirVersion=5.0", VERSION_TEXT),
        ("application/fhir+json; fhirVersion=5.0", VERSION_TEXT),
        ("application/fhir json; fhirVersion=4.0.1", VERSION_TEXT),
    ],
)
def test_bad_format_parameter(value: str, text: str) -> None:
    with pytest.raises(FhirError) as caught:
        negotiate({}, {"_format": value})
    assert (caught.value.status, caught.value.diagnostics) == (406, text)


@pytest.mark.parametrize(
    ("content_type", "form", "expected"),
    [
        ("application/fhir+json", False, JSON),
        ("application/json; charset=utf-8", False, JSON),
        ("application/fhir+xml; fhirVersion=4.0", False, XML),
        ("application/fhir+json; fhirVersion=4.0", True, JSON),
        ("application/x-www-form-urlencoded; charset=UTF-8", True, None),
        (None, True, None),
    ],
)
def test_content_type(content_type: str | None, form: bool, expected: Format | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert check_content_type(headers, form=form) is expected


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("text/turtle", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        (None, False),
        ("application/fhir+json; charset=utf-16", False),
        ("application/fhir+xml", True),  # no search is written in XML
    ],
)
def test_unsupported_content_type(content_type: str | None, form: bool) -> None:
    with pytest.raises(FhirError) as caught:
        check_content_type({} if content_type is None else {"content-type": content_type}, form=form)
    assert caught.value.status == 415


def test_pretty() -> None:
    assert not wants_pretty({})
    assert wants_pretty({"_pretty": "true"})
    with pytest.raises(FhirError):
        wants_pretty({"_pretty": "maybe"})


def test_answers_name_charset_and_version() -> None:
    assert JSON.content_type == "application/fhir+json; fhirVersion=4.0; charset=utf-8"


@pytest.mark.parametrize(
    "content_type", ["application/fhir+json; fhirVersion=5.0", 'application/xml;FHIRVersion="4.3"']
)
def test_another_version_in_the_content_type(content_type: str) -> None:
    headers = {"content-type": content_type, "accept": "application/fhir+xml"}
    with pytest.raises(FhirError) as of_body:
        check_content_type(headers, form=True)
    with pytest.raises(FhirError) as of_request:
        negotiate(headers, {})
    for caught in (of_body, of_request):
        assert (caught.value.status, caught.value.diagnostics) == (406, VERSION_TEXT)
    assert error_format(headers, {}) is XML


@pytest.mark.parametrize("where", ["accept", "_format"])
def test_long_texts_of_clients_are_not_kept(where: str) -> None:
    """Each may fill a head of 64 KB; 256 of them took 15 MB of a worker for good."""
    tracemalloc.start()
    for number in range(256):
        text = f"application/fhir+json; number={number}; {'x' * 60_000}"
        assert (negotiate({"accept": text}, {}) if where == "accept" else negotiate({}, {"_format": text})) is JSON
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
