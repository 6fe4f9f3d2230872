"""The report as a resource: valid in both representations, every number with its decimals."""

from __future__ import annotations

from datetime import UTC, date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from ddr.fhir.cgm_summary import hundredths, summary_bundle
from ddr.fhir.device import device_resource
from ddr.fhir.negotiation import Format
from ddr.fhir.reporting_period import Period
from ddr.fhir.representation import render
from ddr.series.metrics import Metrics
from tests.fhir.rows import IDS, device_row
from tests.fhir.validity import assert_valid

PERIOD = Period(0, 1, date(2026, 11, 9), date(2026, 11, 22), UTC)
METRICS = Metrics(
    readings=4032,
    mean=Fraction("151.1609623016"),
    variance=Fraction("3125.37"),
    ranges=tuple(map(Fraction, ("3.1", "5.7", "56.2", "33.69", "1.31"))),
    days_of_wear=14,
    active=Fraction(100),
)


def report(metrics: Metrics = METRICS) -> dict[str, Any]:
    device = device_resource(device_row(), IDS, "active")
    return summary_bundle(
        metrics, PERIOD, "c0ffee", [("https://ddr.example/fhir/Device/device-7", device)], "2026-11-22T10:00:00.000Z"
    )


def by_code(bundle: dict[str, Any], code: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        entry["resource"]
        for entry in bundle["entry"]
        if entry["resource"].get("code", {}).get("coding", [{}])[0].get("code") == code
    )
    return found


def test_the_report_is_valid_r4() -> None:
    assert_valid(report())


@pytest.mark.parametrize("fmt", Format)
def test_two_decimals_stay(fmt: Format) -> None:
    body = render(report(), fmt)
    for text in (b"151.16", b"8.39", b"56.20", b"100.00", b"3.10"):
        assert text in body


def test_the_numbers_are_in_the_quantities_of_their_codes() -> None:
    bundle = report()
    numbers = {
        code: by_code(bundle, code)["valueQuantity"]["value"]
        for code in ("97507-8", "105273-7", "97506-0", "104638-2", "104636-6", "104637-4")
    }
    assert numbers == {
        "97507-8": Decimal("151.16"),
        "105273-7": Decimal("8.39"),
        "97506-0": Decimal("6.93"),
        "104638-2": Decimal("36.98"),
        "104636-6": 14,
        "104637-4": Decimal("100.00"),
    }


def test_a_variation_that_is_not_defined_is_absent() -> None:
    bundle = report(Metrics(1, Fraction(100), None, METRICS.ranges, 1, Fraction(1)))
    variation = by_code(bundle, "104638-2")
    assert "valueQuantity" not in variation
    assert variation["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert_valid(bundle)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (Fraction(1, 3), "0.33"),
        (Fraction("0.125"), "0.13"),
        (Fraction("0.005"), "0.01"),
        (99.996, "100.00"),
    ],
)
def test_halves_are_rounded_up(value: Fraction | float, text: str) -> None:
    assert str(hundredths(value)) == text
