"""SMART scopes: three exact forms, everything else rejected or without effect, and nothing ever widens."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.scopes.parse import DEVICE, DEVICE_METRIC, ScopeError, Scopes, granted, is_canonical, parse, scope_of

CGM = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-continuous-glucose-measurement"
BGM = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-blood-glucose-measurement"
FULL = f"{scope_of(CGM)} {scope_of(BGM)} {DEVICE} {DEVICE_METRIC}"

MALFORMED = [
    "",
    " ",
    f" {DEVICE}",
    f"{DEVICE}  {DEVICE_METRIC}",
    f"{DEVICE}\n{DEVICE_METRIC}",
    "patient/device.rs",
    "patient/devicemetric.rs",
    "patient/Device.cruds",
    "patient/Device.r",
    "patient/*.rs",
    "user/Device.rs",
    "system/Observation.rs",
    "patient/Patient.rs",
    "patient/Observation.rs",
    "patient/Observation.rs?code:in=",
    f"patient/Observation.cruds?code:in={CGM}",
    f"patient/Observation.r?code:in={CGM}",
    f"patient/Observation.rs?code={CGM}",
    f"patient/Observation.rs?code:in={CGM}&code:in={BGM}",
    f"patient/Observation.rs?code:in={CGM}|1.0.1",
    f"patient/Observation.rs?code:in={CGM},{BGM}",
    f"patient/Observation.rs?code:in={CGM}#1",
    f"Patient/Observation.rs?code:in={CGM}",
    "openid",
    "offline_access",
    "launch/patient",
]

words = st.one_of(
    st.sampled_from([*FULL.split(" "), *MALFORMED]),
    st.text(st.characters(codec="utf-8", exclude_characters=" "), max_size=80),
)
scope_strings = st.lists(words, max_size=8).map(" ".join)
valuesets = st.sets(st.sampled_from([CGM, BGM, "https://example.com/ValueSet/other"]))


def test_all_three_forms_are_read_in_order_and_once() -> None:
    scopes = parse(f"{DEVICE_METRIC} {scope_of(BGM)} {DEVICE} {scope_of(CGM)} {scope_of(BGM)}")
    assert scopes == Scopes((BGM, CGM), device=True, device_metric=True)


def test_the_text_of_scopes_reads_back() -> None:
    assert parse(FULL).text == FULL


@pytest.mark.parametrize("text", MALFORMED)
def test_a_request_with_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ScopeError):
        parse(text)
    with pytest.raises(ScopeError):
        parse(f"{scope_of(CGM)} {text}")


@pytest.mark.parametrize("text", [word for word in MALFORMED if word.strip() and " " not in word and "\n" not in word])
def test_a_token_with_anything_else_grants_nothing_by_it(text: str) -> None:
    assert granted(text) == Scopes()
    assert granted(f"{text} {DEVICE}") == Scopes(device=True)


def test_within_keeps_resources_and_drops_kinds_of_data() -> None:
    assert parse(FULL).within({BGM}) == Scopes((BGM,), device=True, device_metric=True)


@given(scope_strings)
def test_reading_leniently_never_grants_more_than_is_written(text: str) -> None:
    scopes = granted(text)
    written = text.split(" ")
    assert set(scopes.text.split()) <= set(written)
    assert granted(scopes.text) == scopes


@given(scope_strings)
def test_strict_and_lenient_reading_agree_where_strict_reads(text: str) -> None:
    with suppress(ScopeError):
        assert parse(text) == granted(text)


@given(scope_strings, valuesets)
def test_narrowing_never_widens(text: str, allowed: set[str]) -> None:
    scopes = granted(text)
    narrowed = scopes.within(allowed)
    assert scopes.covers(narrowed)
    assert set(narrowed.valuesets) <= allowed


@given(scope_strings, scope_strings)
def test_covers_means_no_further_word(one: str, other: str) -> None:
    a, b = granted(one), granted(other)
    assert a.covers(b) == (set(b.text.split()) <= set(a.text.split()))


def test_a_refusal_says_which_and_what_there_is() -> None:
    with pytest.raises(ScopeError) as caught:
        parse(f"{DEVICE} openid {DEVICE_METRIC}")
    assert str(caught.value) == (
        "number 2 of 3 is none of patient/Observation.rs?code:in=<canonical of a ValueSet>, patient/Device.rs or"
        " patient/DeviceMetric.rs"
    )


@pytest.mark.parametrize(
    ("text", "good"), [("https://x.example/ValueSet/a", True), ("https://x/a|1", False), ("urn:x", False), ("", False)]
)
def test_what_can_be_the_canonical_of_a_scope(text: str, good: bool) -> None:
    assert is_canonical(text) is good
