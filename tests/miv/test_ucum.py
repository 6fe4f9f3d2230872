"""UCUM codes and other texts."""

from __future__ import annotations

import pytest

from ddr.miv.ucum import is_unit


@pytest.mark.parametrize(
    "unit",
    [
        "mg/dL",
        "mmol/L",
        "mm[Hg]",
        "L/min",
        "L",
        "%",
        "kg",
        "kg/m2",
        "{beats}/min",
        "/min",
        "10*3/uL",
        "Cel",
        "U/h",
        "mU/L",
        "[IU]/L",
        "mL/min/{1.73_m2}",
        "s-1",
        "1",
        "kPa",
    ],
)
def test_units(unit: str) -> None:
    assert is_unit(unit)


@pytest.mark.parametrize(
    "text", ["", "percent", "mg/dl/", "mgdL", "mmHg", "beats/min", "kg m2", "MG/DL", "mg//dL", "°C", "bpm", "mg/dL\n"]
)
def test_typing_errors(text: str) -> None:
    assert not is_unit(text)
