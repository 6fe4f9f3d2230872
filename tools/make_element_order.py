"""Writes ddr/fhir/element_order.json: the elements of each FHIR R4 type in the order that FHIR XML prescribes.

The source is fhir.resources' R4B model, which for these types differs from R4 (4.0.1) only by two datatypes new in R4B.
Run it after a change of ROOTS: `python tools/make_element_order.py`. tests/fhir/test_elements.py compares the file.
"""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

from fhir.resources.R4B import get_fhir_model_class

TARGET = Path(__file__).parent.parent / "ddr" / "fhir" / "element_order.json"
ROOTS = (
    "Bundle",
    "CapabilityStatement",
    "Device",
    "DeviceMetric",
    "Observation",
    "OperationOutcome",
    "Parameters",
    "Patient",
)
ONLY_R4B = {"CodeableReference", "RatioRange"}


def fhir_type(annotation: Any) -> tuple[str, bool]:
    """The FHIR type name of a model field and whether it repeats."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = next(argument for argument in typing.get_args(annotation) if argument is not type(None))
        return fhir_type(inner)
    if typing.get_origin(annotation) is list:
        return fhir_type(typing.get_args(annotation)[0])[0], True
    if typing.get_origin(annotation) is typing.Annotated:
        marker = type(annotation.__metadata__[-1]).__name__.removesuffix("Version")
        return marker[0].lower() + marker[1:], False
    if annotation is bool:
        return "boolean", False
    return annotation.__name__.removesuffix("Type"), False


def described(owner: str, name: str, kind: str, many: bool) -> str:
    """One table cell: the type, "*" for a list, "@" for an attribute in XML."""
    if (name == "id" and kind != "id") or (owner == "Extension" and name == "url"):
        return "@" + kind
    return kind + "*" * many


def elements(name: str) -> dict[str, str]:
    """The elements of one type in XML order."""
    model = get_fhir_model_class(name)
    fields = {field.alias or key: field for key, field in model.model_fields.items()}
    found = {element: fhir_type(fields[element].annotation) for element in model.elements_sequence()}
    return {key: described(name, key, kind, many) for key, (kind, many) in found.items() if kind not in ONLY_R4B}


def table() -> dict[str, dict[str, str]]:
    """Every type that is reachable from ROOTS."""
    found: dict[str, dict[str, str]] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in found or name == "Resource":
            continue
        found[name] = elements(name)
        waiting += [kind for kind in (cell.strip("@*") for cell in found[name].values()) if kind[0].isupper()]
    return dict(sorted(found.items()))


def text() -> str:
    """The file's content: one line per type, so that changes are easy to review."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(cells)}" for name, cells in table().items()) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(text())
