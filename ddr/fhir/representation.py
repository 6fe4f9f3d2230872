"""A resource as bytes and back: `render` and `parse` for FHIR JSON and XML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from ddr.fhir.bounds import MOST_DIGITS, TooMuch
from ddr.fhir.negotiation import Format
from ddr.fhir.outcome import echo, malformed, too_much
from ddr.fhir.strict_json import LARGE_EXPONENT, NotJson, read_exact
from ddr.fhir.xml_reader import read_xml
from ddr.fhir.xml_writer import XmlError, write_xml


def render(resource: Mapping[str, Any], fmt: Format, pretty: bool = False) -> bytes:
    """The resource in the requested representation. Decimals keep their digits, including trailing zeros.

    Raises XmlError for content that XML cannot represent (resources of this server never have such content).
    """
    if fmt is Format.XML:
        return write_xml(resource, pretty)
    return orjson.dumps(resource, default=_number, option=orjson.OPT_INDENT_2 if pretty else None)


def parse(body: bytes, fmt: Format) -> dict[str, Any]:
    """The resource in a request body; decimals as Decimal. Raises FhirError 400 (MSG_BAD_SYNTAX) and 413.

    The work is bounded (ddr.fhir.bounds) but not short: parse large bodies in a thread.
    """
    try:
        return read_xml(body) if fmt is Format.XML else read_json(body)
    except TooMuch as error:
        raise too_much(str(error)) from None
    except XmlError as error:
        raise malformed(echo(f"The body is not a FHIR resource in XML: {error}")) from None
    except NotJson as error:
        raise malformed(echo(f"The body is not valid JSON: {error}")) from None
    except ValueError:
        raise malformed("The body is not a FHIR resource in JSON") from None


def read_json(body: bytes) -> dict[str, Any]:
    """The resource in a FHIR JSON document. Raises ValueError (also NotJson and TooMuch)."""
    resource = read_exact(body, _decimal, _integer)
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise ValueError("not a resource")
    return resource


def exact_json(content: Any) -> bytes:
    """JSON in which decimals keep their digits."""
    return orjson.dumps(content, default=_number)


def exact_value(content: bytes) -> Any:
    """The value written by `exact_json`; decimals as Decimal."""
    return json.loads(content, parse_float=Decimal)


def _number(value: Any) -> orjson.Fragment:
    """JSON numbers have the same grammar as FHIR decimals, so their digits are written unchanged."""
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError


def _decimal(digits: str) -> Decimal:
    if len(digits) > MOST_DIGITS or LARGE_EXPONENT.search(digits):
        raise ValueError("a number too long")
    return Decimal(digits)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError("a number too long")
    return int(digits)
