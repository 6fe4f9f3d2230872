"""Possible values, and values that look like another unit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ddr.series.packing import HIGH, LOW
from ddr.series.plausible import Plausible
from ddr.series.reading import Rejection, Rules, in_other_unit, raw_value, read_items

MMOL = Plausible("mmol/L", 1.1, 2.0, 30.0, 55.5)
MG = Plausible("mg/dL", 20, 36, 540, 1000, MMOL)
RULES = Rules.of("mg/dL", 0, Decimal(40), Decimal(400)).among(MG)
FINE = Rules.of("mmol/L", 1, None, None).among(Plausible("mmol/L", 1.1, 2.0, 30.0, 55.5, MG))


def items(*values: Any) -> list[dict[str, Any]]:
    return [{"time": "2026-11-22T11:00:00Z", "value": value} for value in values]


@pytest.mark.parametrize("value", [0, -1, -3, 1, 12, 19, 1001, 1e300, 10**400, float("nan"), float("-inf"), -0.0])
def test_placeholders_and_error_codes_are_no_low_values(value: float) -> None:
    found = raw_value(value, RULES)
    assert isinstance(found, Rejection)
    assert (found.reason, found.retry) == ("implausible", False)
    assert found.detail == MG.refusal(value)


@pytest.mark.parametrize(
    ("value", "raw"), [(20, LOW), (39, LOW), (39.6, LOW), (40, 40), (401, HIGH), (999, HIGH), (1000, HIGH), ("L", LOW)]
)
def test_what_a_sensor_can_measure_is_taken(value: Any, raw: int) -> None:
    assert raw_value(value, RULES) == raw


def test_the_words_need_the_limit_that_they_are_beyond() -> None:
    lower = Rules.of("mg/dL", 0, Decimal(40), None)
    assert raw_value("L", lower) == LOW
    for word, side in (("U", "upper"), ("L", "lower")):
        found = raw_value(word, lower if word == "U" else FINE)
        assert isinstance(found, Rejection)
        assert (found.reason, found.retry, f"limits.{side}" in found.detail) == ("range", True, True)


@pytest.mark.parametrize("values", [(5.6, 7.8), (6, 7, 8), (5, 21), (4.2, "E", 11.1)])
def test_an_upload_in_mmol_to_a_sensor_in_mg(values: tuple[Any, ...]) -> None:
    assert in_other_unit(items(*values), "mg/dL", RULES) == (
        "These values look like mmol/L but were sent as mg/dL; nothing was stored"
    )


def test_an_upload_in_mg_to_a_sensor_in_mmol() -> None:
    found = in_other_unit(items(120, 131), "mmol/L", FINE)
    assert found is not None
    assert "look like mg/dL" in found


def test_what_is_no_number_says_nothing_about_the_unit() -> None:
    assert in_other_unit([None, 7, "x", [], {}, *items(5.6, None, True, "L", 7.8)], "mg/dL", RULES) is not None
    assert in_other_unit([*items(5.6), None, {}, *items(True)], "mg/dL", RULES) is None, "one number alone"


@pytest.mark.parametrize("values", [(5, 100), (30, 25), (100, 101), (5,), ("L", "E"), (), (0, 0), (-1, 5)])
def test_other_uploads_are_judged_item_by_item(values: tuple[Any, ...]) -> None:
    assert in_other_unit(items(*values), "mg/dL", RULES) is None
    assert in_other_unit(items(5, 6), None, RULES) is None
    assert in_other_unit(items(5, 6), "mg/dL", Rules("mg/dL", 0)) is None, "nobody says what values can be"


def test_single_values() -> None:
    assert MG.problem(15) == "value is impossible: 20 to 1000 mg/dL is allowed; it looks like a value in mmol/L"
    assert MG.problem(22.4) is not None, "a value in mg/dL has no decimals so low"
    assert MG.problem(22) is None
    assert MG.warning(22) == ("value is unusual: 36 to 540 mg/dL is expected; it looks like a value in mmol/L")
    assert MG.warning(100) is None
    assert Plausible("L", 0.05, 0.3, 8, 15).problem(0) == "value is impossible: 0.05 to 15 L is allowed"


def test_a_misspelt_member_is_named() -> None:
    [found] = read_items([{"time": "2026-11-22T11:00:00Z", "valeu": 100}], "mg/dL", RULES, 2**62)
    assert isinstance(found, Rejection)
    assert (found.reason, "valeu" in found.detail) == ("unknown-member", True)


def test_the_least_number_of_two_decimals() -> None:
    assert raw_value(-327.66, Rules("u", 2)) == -32766
    assert raw_value(327.66, Rules("u", 2)) == 32766


def test_the_bounds_themselves_are_possible() -> None:
    assert (MG.problem(20), MG.problem(1000)) == (None, None)
    assert MG.problem(1001) == "value is impossible: 20 to 1000 mg/dL is allowed"
    assert (MG.usual(36), MG.usual(540), MG.usual(35), MG.usual(541)) == (True, True, False, False)


def test_no_values_and_no_other_unit_tell_nothing() -> None:
    assert MG.other_unit([]) is None
    assert Plausible("L", 0.05, 0.3, 8, 15).other_unit([0.01]) is None
    assert in_other_unit(items(5, "E"), "mg/dL", RULES) is None, "one number alone"


def test_where_the_units_overlap_a_usual_value_speaks_for_the_one_that_was_sent() -> None:
    bounds = Plausible("kPa", 1, 2, 50, 80, Plausible("mm[Hg]", 10, 20, 300, 500))
    assert bounds.other_unit([120, 90]) is not None
    assert bounds.other_unit([120, 40]) is None
