"""Single search values: dates, quantities, tokens, strings, references and composites."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.instants import parse_instant
from ddr.fhir.outcome import FhirError
from ddr.fhir.search.grammar import PARAMETERS
from ddr.fhir.search.query import (
    CompositeValue,
    DateValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    Value,
)
from ddr.fhir.search.values import PREFIXES, parse_value, split, unescape

NOW = parse_instant("2026-11-22T10:00:00Z")
BASE = "https://ddr.example:8443/fhir"


def value(name: str, text: str, modifier: str | None = None, resource_type: str = "Observation") -> Value:
    return parse_value(PARAMETERS[resource_type][name], modifier, text, NOW, BASE)


def refusal(name: str, text: str) -> str:
    with pytest.raises(FhirError) as caught:
        value(name, text)
    assert (caught.value.status, caught.value.code) == (400, "processing")
    return caught.value.diagnostics or ""


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", "2026-01-01T00:00:00Z", "2026-12-31T23:59:59.999Z"),
        ("2026-02", "2026-02-01T00:00:00Z", "2026-02-28T23:59:59.999Z"),
        ("2026-11-22", "2026-11-22T00:00:00Z", "2026-11-22T23:59:59.999Z"),
        ("2026-11-22T10:30", "2026-11-22T10:30:00Z", "2026-11-22T10:30:59.999Z"),
        ("2026-11-22T10:30:15Z", "2026-11-22T10:30:15Z", "2026-11-22T10:30:15.999Z"),
        ("2026-11-22T10:30:15.25Z", "2026-11-22T10:30:15.250Z", "2026-11-22T10:30:15.259Z"),
        ("2026-11-22T10:30:15+01:00", "2026-11-22T09:30:15Z", "2026-11-22T09:30:15.999Z"),
        ("2026-11-22T10:30:15 01:00", "2026-11-22T09:30:15Z", "2026-11-22T09:30:15.999Z"),  # an unescaped +
    ],
)
@pytest.mark.parametrize("prefix", ["", *(prefix for prefix in PREFIXES if prefix != "ap")])
def test_a_date_covers_what_its_precision_says(prefix: str, text: str, first: str, last: str) -> None:
    assert value("date", prefix + text) == DateValue(prefix or "eq", parse_instant(first), parse_instant(last))


def test_ap_reaches_a_tenth_of_the_gap_to_now() -> None:
    ten_days = 864_000_000
    found = value("date", "ap2026-11-12T10:00:00Z")
    assert found == DateValue("ap", NOW - ten_days - ten_days // 10, NOW - ten_days + 999 + ten_days // 10)


@pytest.mark.parametrize(
    "text", ["", "xx2025", "2025-13-01", "2025-02-30", "ge", "2025-1-1", "gt 2025", "2025-01-01T25:00"]
)
def test_malformed_dates_are_named(text: str) -> None:
    assert refusal("date", text) == f"Invalid date/time format or date range: {text}"


def test_a_number_stands_for_the_range_of_its_precision() -> None:
    assert value("value-quantity", "100") == QuantityValue("eq", Decimal(100), Decimal("99.5"), Decimal("100.5"), None)
    assert value("value-quantity", "ne5.40") == QuantityValue(
        "ne", Decimal("5.40"), Decimal("5.395"), Decimal("5.405"), None
    )
    assert value("value-quantity", "ap200") == QuantityValue("ap", Decimal(200), Decimal(180), Decimal(220), None)
    assert value("value-quantity", "ap-200") == QuantityValue("ap", Decimal(-200), Decimal(-220), Decimal(-180), None)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("1e2", 95, 105),  # the example of search.html#number
        ("1.0e2", 95, 105),
        ("1.00E+2", "99.5", "100.5"),
        ("1.40e2", "139.5", "140.5"),
        ("12e1", 115, 125),
        ("-1e2", -105, -95),
        ("5e-1", "0.495", "0.505"),
        ("140.0", "139.95", "140.05"),
        ("7", "6.5", "7.5"),
    ],
)
def test_exponents_follow_the_table_of_the_standard(text: str, low: float | str, high: float | str) -> None:
    found = value("value-quantity", text)
    assert isinstance(found, QuantityValue)
    assert (found.low, found.high) == (Decimal(low), Decimal(high))


@pytest.mark.parametrize(
    ("unit", "common", "factor"),
    [
        ("|http://unitsofmeasure.org|mg/dL", "mg/dL", 1),
        ("||mg/dl", "mg/dL", 1),
        ("||g/L", "mg/dL", 100),
        ("||mmol/L", "mmol/L", 1),
        ("||mmol/l", "mmol/L", 1),
        ("||umol/l", "mmol/L", 0.001),
        ("||L/s", "L/min", 60),
        ("||ml", "L", 0.001),
        ("||mm[Hg]", "mm[Hg]", 1),
        ("||%", "%", 1),
        ("|http://unitsofmeasure.org|", None, 1),
        ("||kg", "kg", 1),
        ("||U/l", "U/L", 1),
        ("|http://example.org/units|mg/dL", "", 1),
    ],
)
def test_units_of_one_kind_are_converted(unit: str, common: str | None, factor: float) -> None:
    found = value("value-quantity", "gt8" + unit)
    assert isinstance(found, QuantityValue)
    assert (found.unit, found.stated) == (common, unit.startswith("||"))
    assert found.number == 8 * Decimal(str(factor))


@pytest.mark.parametrize("text", ["", "high", "gt", "100|mg/dL", "1|2|3|4", "1,5|", "NaN", "1e999"])
def test_malformed_quantities_are_refused(text: str) -> None:
    assert refusal("value-quantity", text) == f"Invalid value of search parameter value-quantity: {text}"


@pytest.mark.parametrize(
    ("text", "system", "code"),
    [
        ("2339-0", None, "2339-0"),
        ("http://loinc.org|2339-0", "http://loinc.org", "2339-0"),
        ("|2339-0", "", "2339-0"),
        ("http://loinc.org|", "http://loinc.org", None),
        ("PEF-measured/predicted", None, "PEF-measured/predicted"),
        (r"a\|b|c\$d\,e\\", "a|b", r"c$d,e" + "\\"),
    ],
)
def test_tokens(text: str, system: str | None, code: str | None) -> None:
    assert value("code", text) == TokenValue(system, code)


@pytest.mark.parametrize("text", ["", "|", "a|b|c"])
def test_malformed_tokens_are_refused(text: str) -> None:
    assert refusal("code", text) == f"Invalid value of search parameter code: {text}"


@pytest.mark.parametrize(
    ("name", "told"), [("code", "value of search parameter code"), ("device", "value of"), ("date", "date/time")]
)
def test_no_value_holds_a_nul(name: str, told: str) -> None:
    assert refusal(name, "2026\0").startswith(f"Invalid {told}")
    assert refusal(name, "\0").startswith(f"Invalid {told}")
    assert refusal(name, "2026\ufffd").startswith(f"Invalid {told}")  # bytes that were no UTF-8


@pytest.mark.parametrize("text", [r"a\b", "a\\", r"\a", r"a\\\b"])
def test_a_backslash_that_escapes_nothing_is_refused(text: str) -> None:
    assert refusal("code", text) == f"Invalid value of search parameter code: {text}"
    assert refusal("date", text) == f"Invalid date/time format or date range: {text}"


def test_strings_keep_their_text() -> None:
    assert value("device-name", "Glükko\\, CHECK", None, "Device") == StringValue("starts", "Glükko, CHECK")
    assert value("device-name", "É", "contains", "Device") == StringValue("contains", "É")
    assert value("device-name", "Glükko", "exact", "Device") == StringValue("exact", "Glükko")


def test_references() -> None:
    assert value("source", "Device/ab-1", None, "DeviceMetric") == ReferenceValue("Device", "ab-1")
    assert value("source", "ab-1", None, "DeviceMetric") == ReferenceValue(None, "ab-1")
    for malformed in ("Patient/1", "Device/a b", "Device/", "/ab-1", "Device/a/b"):
        assert refusal("device", malformed) == f"Invalid value of search parameter device: {malformed}"


def test_absolute_references_below_our_base_are_ours() -> None:
    source = PARAMETERS["DeviceMetric"]["source"]
    assert parse_value(source, None, f"{BASE}/Device/ab-1", NOW, BASE) == ReferenceValue("Device", "ab-1")
    for elsewhere in ("https://other.example/fhir/Device/ab-1", "urn:uuid:5f8b4bd4-0bb2-4e4e-8b5c-7e6b5f7a0001"):
        assert parse_value(source, None, elsewhere, NOW, BASE) == ReferenceValue(None, "")
    for malformed in (f"{BASE}/Observation/ab-1", f"{BASE}/Device/a b", f"{BASE}/"):
        with pytest.raises(FhirError):
            parse_value(source, None, malformed, NOW, BASE)


def test_composites_join_code_and_value() -> None:
    found = value("component-code-value-quantity", "http://loinc.org|8480-6$gt130")
    assert isinstance(found, CompositeValue)
    assert found.token == TokenValue("http://loinc.org", "8480-6")
    assert (found.quantity.prefix, found.quantity.number) == ("gt", Decimal(130))
    for text in ("8480-6", "8480-6$", "$gt130", "8480-6$1$2"):
        refusal("component-code-value-quantity", text)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.sampled_from([",", "$", "|"]))
def test_escaped_parts_survive_splitting(parts: list[str], separator: str) -> None:
    def escaped(part: str) -> str:
        return part.replace("\\", "\\\\").replace(",", "\\,").replace("$", "\\$").replace("|", "\\|")

    joined = separator.join(map(escaped, parts))
    assert [unescape(part) for part in split(joined, separator)] == parts


def test_a_separator_behind_an_escaped_one_separates() -> None:
    assert split(r"a\,,b\\,c", ",") == [r"a\,", r"b\\", "c"]


def test_a_converted_quantity_has_its_range_converted() -> None:
    """1.0 g/L is 100 mg/dL, from 95 to 105: the precision is that of the text, not of the unit that is stored."""
    found = value("value-quantity", "1.0|http://unitsofmeasure.org|g/L")
    assert isinstance(found, QuantityValue)
    assert (found.number, found.low, found.high, found.unit) == (Decimal(100), Decimal(95), Decimal(105), "mg/dL")


def test_an_approximate_date_is_widened_by_whole_milliseconds() -> None:
    found = parse_value(PARAMETERS["Observation"]["date"], None, "ap2026-11-22T09:59:59Z", NOW + 7, BASE)
    assert isinstance(found, DateValue)
    assert (found.low_ms, found.high_ms) == (NOW - 1000 - 100, NOW - 1 + 100)
    assert isinstance(found.low_ms, int) and isinstance(found.high_ms, int)
