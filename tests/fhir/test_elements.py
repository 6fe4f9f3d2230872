"""The committed element table equals its generator's output, and is right where R4 differs from R4B."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ddr.fhir.elements import RESOURCES, SHAPES, TABLE

GENERATOR = Path(__file__).parent.parent.parent / "tools" / "make_element_order.py"


def test_table_is_current() -> None:
    spec = importlib.util.spec_from_file_location("make_element_order", GENERATOR)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert TABLE.read_text() == module.text()


def test_types_new_in_r4b_are_left_out() -> None:
    assert not {"CodeableReference", "RatioRange"} & set(SHAPES)
    assert "valueRatioRange" not in SHAPES["Extension"].elements


def test_resources_are_told_from_other_types() -> None:
    assert {"Bundle", "CapabilityStatement", "Device", "DeviceMetric", "Observation", "OperationOutcome"} < RESOURCES
    assert "Extension" not in RESOURCES


def test_attributes_primitives_and_narratives_are_told_apart() -> None:
    extension = SHAPES["Extension"]
    assert extension.attributes == ("id", "url")
    assert SHAPES["Attachment"].attributes == ("id",)
    assert not extension.elements["extension"].primitive
    assert extension.elements["_valueCode"] is extension.elements["valueCode"]
    assert not SHAPES["Observation"].elements["id"].attribute
    assert SHAPES["Narrative"].elements["div"].type == "xhtml"
