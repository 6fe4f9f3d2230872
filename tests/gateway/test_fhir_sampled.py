"""SampledData as readings: exact values, one instant per token. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.instants import parse_instant
from ddr.gateway.door.sampled import Samples, lacking, sampled
from ddr.gateway.fields import Fields
from ddr.gateway.problem import Problem

START = 1_795_341_600_000


def read(data: str, **members: Any) -> Samples:
    """The readings of a sequence in mg/dL, one value in a minute unless `members` say otherwise."""
    given = {"origin": {"value": 0}, "period": 60_000, "dimensions": 1, "data": data, **members}
    return sampled(Fields(given, "valueSampledData"), "mg/dL", START)


def values(samples: Samples) -> list[Any]:
    return [reading["value"] for reading in samples.readings]


NUMBERS = st.decimals(-10_000, 10_000, places=3)


@given(origin=NUMBERS, factor=NUMBERS, tokens=st.lists(NUMBERS, min_size=1))
def test_values_are_exact(origin: Decimal, factor: Decimal, tokens: list[Decimal]) -> None:
    found = read(" ".join(map(str, tokens)), origin={"value": origin}, factor=factor)
    assert [Decimal(repr(value)) for value in values(found)] == [
        Decimal(repr(float(origin + factor * token))) for token in tokens
    ]


def test_binary_fractions_leave_no_trace() -> None:
    assert values(read("1 2 3", origin={"value": Decimal("0.1")}, factor=Decimal("0.1"))) == [0.2, 0.3, 0.4]


@given(st.integers(1, 86_400_000), st.integers(1, 50))
def test_each_token_has_its_instant(period: int, count: int) -> None:
    found = read(" ".join(["7"] * count), period=period)
    assert [parse_instant(reading["time"]) for reading in found.readings] == [START + i * period for i in range(count)]


def test_words_and_what_is_no_value() -> None:
    assert values(read("E L U x 1e3 0x1 NaN")) == ["E", "L", "U", "x", 1000, "0x1", "NaN"]


@pytest.mark.parametrize(
    ("data", "unit", "decimals"),
    [("100", "mg/dL", 0), ("100.25", "mg/dL", 2), ("5", "mmol/L", 1), ("5.55", "mmol/L", 2), ("1.2345", None, 2)],
)
def test_decimals_that_values_need(data: str, unit: str | None, decimals: int) -> None:
    found = read(data)
    assert Samples(unit, found.readings).decimals() == decimals


@pytest.mark.parametrize(
    "members",
    [
        {"period": Decimal("0.5")},
        {"period": 0},
        {"period": 10**12},
        {"period": True},
        {"factor": "2"},
        {"factor": Decimal("1e99")},
        {"origin": {}},
        {"dimensions": 2},
        {"dimensions": True},
        {"dimensions": None},
        {"lowerLimit": "x"},
        {"data": ""},
        {"data": 7},
        {"data": None},
    ],
)
def test_what_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refusal:
        read(**{"data": "1", **members})
    assert refusal.value.status == 422


def test_limits_that_a_sensor_lacks_have_its_decimals() -> None:
    found = [read("1"), read("1", lowerLimit=Decimal("39.64")), read("1", lowerLimit=41, upperLimit=400)]
    assert lacking(found, {}, 0) == {"lower": 40, "upper": 400}
    assert lacking(found, {"lower": 50}, 1) == {"upper": 400}
    assert lacking(found[:2], {}, 1) == {"lower": 39.6}
