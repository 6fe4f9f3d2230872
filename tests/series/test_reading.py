"""Every item of an upload is a reading or has a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.instants import instant_ms
from ddr.series.packing import ERROR, HIGH, LARGEST, LOW
from ddr.series.reading import Rejection, Rules, raw_value, read_items

NOON = 1_795_345_200_000
RULES = Rules.of("mg/dL", 0, Decimal(40), Decimal(400))
FINE = Rules.of("mmol/L", 1, None, None)
GOOD = {"time": "2026-11-22T11:00:00Z", "value": 123}


def test_items_keep_their_order_and_bad_ones_do_not_block_others() -> None:
    found = read_items([GOOD, {"time": "yesterday", "value": 1}, GOOD], "mg/dL", RULES, NOON)
    assert found[0] == found[2] == (NOON, 123)
    assert isinstance(found[1], Rejection)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "malformed"),
        ([], "malformed"),
        ({}, "time"),
        (GOOD | {"time": 5}, "time"),
        (GOOD | {"time": "2026-11-22T11:00:00"}, "time"),
        (GOOD | {"time": "2026-11-22T11Z"}, "time"),
        (GOOD | {"time": "2026-11-22T12:00+01:00"}, "time"),
        (GOOD | {"time": "2026-11-22T120000+01:00"}, "time"),
        (GOOD | {"time": "20261122T110000.000Z"}, "time"),
        (GOOD | {"time": "2026-W47-7T11:00:00Z"}, "time"),
        (GOOD | {"time": "2026-02-30T11:00:00Z"}, "time"),
        (GOOD | {"time": "2026-11-22 11:00:00Z"}, "time"),
        (GOOD | {"time": "2026-11-22T11:00:01Z"}, "future"),
        (GOOD | {"unit": "mmol/L"}, "unit"),
        (GOOD | {"unit": None}, "unit"),
        (GOOD | {"value": None}, "value"),
        (GOOD | {"value": True}, "value"),
        (GOOD | {"value": "123"}, "value"),
        (GOOD | {"value": 123.5}, "precision"),
    ],
)
def test_what_is_refused(item: Any, reason: str) -> None:
    [found] = read_items([item], "mg/dL", RULES, NOON)
    assert isinstance(found, Rejection)
    assert found.reason == reason
    assert found.detail


def test_a_missing_unit_is_refused_and_an_own_unit_wins() -> None:
    [missing] = read_items([GOOD], None, RULES, NOON)
    assert isinstance(missing, Rejection)
    assert read_items([GOOD | {"unit": "mg/dL"}], "mmol/L", RULES, NOON) == [(NOON, 123)]


@pytest.mark.parametrize("time", ["2026-11-22T12:00:00+01:00", "2026-11-22T11:00:00.0009Z"])
def test_forms_of_one_instant(time: str) -> None:
    assert instant_ms(time) == NOON


@pytest.mark.parametrize(
    ("value", "raw"), [("L", LOW), ("U", HIGH), ("E", ERROR), (39, LOW), (39.9, LOW), (40, 40), (400, 400), (401, HIGH)]
)
def test_values_beyond_the_limits_are_marked(value: Any, raw: int) -> None:
    assert raw_value(value, RULES) == raw


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, 1e300, 10**400, float("inf"), float("nan")])
def test_values_that_do_not_fit_are_refused(value: Any) -> None:
    found = raw_value(value, Rules("mg/dL", 0))
    assert isinstance(found, Rejection)
    assert found.reason == "range"


@given(st.integers(-LARGEST, LARGEST))
def test_decimals_survive_floats(raw: int) -> None:
    assert raw_value(float(Decimal(raw).scaleb(-1)), FINE) == raw
