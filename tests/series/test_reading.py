"""Every item of an upload is a reading or has a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.instants import instant_ms
from ddr.series.packing import ERROR, HIGH, LARGEST, LOW
from ddr.series.plausible import Plausible
from ddr.series.reading import TOO_OLD, Rejection, Rules, future_at, raw_value, read_items

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


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (Decimal("2.25"), Decimal("33.35"), (23, 333)),  # a limit between two raw values counts the one inside
        (Decimal("2.2"), None, (22, None)),
        (None, Decimal("33.3"), (None, 333)),
    ],
)
def test_limits_in_raw_values(
    lower: Decimal | None, upper: Decimal | None, expected: tuple[int | None, int | None]
) -> None:
    rules = Rules.of("mmol/L", 1, lower, upper)
    assert (rules.unit, rules.decimals, rules.lowest, rules.highest) == ("mmol/L", 1, *expected)
    assert rules.plausible is None


def test_what_is_plausible_is_added_to_the_rules() -> None:
    bounds = Plausible("mg/dL", 20, 36, 540, 1000)
    rules = RULES.among(bounds)
    assert (rules.plausible, rules.lowest, rules.highest) == (bounds, RULES.lowest, RULES.highest)
    assert rules.among(bounds) is rules and rules.among(None) == RULES


def test_a_clock_ahead_is_told_the_recorders_time() -> None:
    found = future_at(NOON + 999, 120)
    assert (found.reason, found.retry) == ("future", True)
    assert found.detail == (
        "time is in the future: the recorder's clock shows 2026-11-22T11:00:00Z, and readings may be up to 120 s"
        " ahead of it; keep this reading, correct the clock and send it again"
    )
    assert read_items([GOOD | {"time": "2026-11-22T11:00:01Z"}], "mg/dL", RULES, NOON, found) == [found]


def test_the_bounds_of_time_belong_to_it() -> None:
    times = [GOOD, GOOD | {"time": "2026-11-22T10:59:59.999Z"}]
    assert read_items(times, "mg/dL", RULES, NOON, earliest_ms=NOON) == [(NOON, 123), TOO_OLD]


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        (None, "the readings of this sensor are in mg/dL, but unit is missing; values are not converted"),
        ("mmol/L", "the readings of this sensor are in mg/dL, but unit differs; values are not converted"),
    ],
)
def test_a_unit_that_is_not_the_sensors_is_told(unit: str | None, told: str) -> None:
    assert read_items([GOOD], unit, RULES, NOON) == [Rejection("unit", told)]


def test_an_unknown_member_is_named_and_bounded() -> None:
    assert read_items([GOOD | {"zeit": 1, "wert": 2}], "mg/dL", RULES, NOON) == [
        Rejection("unknown-member", "wert is not a member of a reading; the members are time, value and unit")
    ]
    [long] = read_items([GOOD | {"ä" + 60 * "x": 1}], "mg/dL", RULES, NOON)
    assert isinstance(long, Rejection)
    assert long.detail.startswith("\\xe4" + 39 * "x" + " is")


def test_more_decimals_than_the_sensor_has_are_told() -> None:
    assert raw_value(5.55, FINE) == Rejection("precision", "value has more than 1 decimals")


def test_limits_at_two_decimals() -> None:
    rules = Rules.of("L", 2, Decimal("0.5"), Decimal("9.99"))
    assert (rules.lowest, rules.highest) == (50, 999)


def test_the_first_instant_of_all_is_one() -> None:
    assert read_items([{"time": "1970-01-01T00:00:00Z", "value": 100}], "mg/dL", RULES, NOON) == [(0, 100)]
