"""Resources checked by a second opinion: fhir.resources' R4B model, from JSON and from XML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fhir.resources.R4B import get_fhir_model_class

from ddr.fhir.negotiation import Format
from ddr.fhir.representation import parse, render


def assert_valid(resource: Mapping[str, Any]) -> None:
    """The resource satisfies the R4B model, and its XML form says the same as its JSON form."""
    body = render(resource, Format.JSON)
    get_fhir_model_class(resource["resourceType"]).model_validate_json(body)
    again = parse(render(resource, Format.XML), Format.XML)
    assert orjson.loads(render(again, Format.JSON)) == orjson.loads(body)
    assert_no_empties(resource)


def assert_no_empties(value: Any) -> None:
    """FHIR has no nulls, empty strings, empty objects or empty arrays."""
    assert value is not None and value not in ("", [], {})
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        assert_no_empties(child)
