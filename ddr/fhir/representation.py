"""A resource as bytes and back: `render` and `parse` for FHIR JSON and XML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

import orjson

from ddr.fhir.negotiation import Format
from ddr.fhir.outcome import echo, malformed
from ddr.fhir.xml_reader import read_xml
from ddr.fhir.xml_writer import XmlError, write_xml


def render(resource: Mapping[str, Any], fmt: Format, pretty: bool = False) -> bytes:
    """The resource in the representation asked for. Decimals keep their digits, trailing zeros included.

    Raises XmlError for what XML cannot carry (resources of this server never hold that).
    """
    if fmt is Format.XML:
        return write_xml(resource, pretty)
    return orjson.dumps(resource, default=_number, option=orjson.OPT_INDENT_2 if pretty else None)


def parse(body: bytes, fmt: Format) -> dict[str, Any]:
    """The resource in a request body; decimals as Decimal. Raises FhirError 400 (MSG_BAD_SYNTAX)."""
    try:
        return read_xml(body) if fmt is Format.XML else read_json(body)
    except XmlError as error:
        raise malformed(echo(str(error))) from None
    except (ValueError, RecursionError):
        raise malformed("The body is not a FHIR resource in JSON") from None


def read_json(body: bytes) -> dict[str, Any]:
    """The resource in a FHIR JSON document. Raises ValueError or RecursionError."""
    resource = json.loads(body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_refuse)
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise ValueError("not a resource")
    return resource


def _number(value: Any) -> orjson.Fragment:
    """JSON has the same grammar for numbers as FHIR for decimals, so their digits go out unchanged."""
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
