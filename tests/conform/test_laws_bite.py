"""The verdicts of the rules for single resources and chunks on handmade responses that break them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ddr.conform.blame import blamed, malformed
from ddr.conform.checks import search_devices
from ddr.conform.exchange import Exchange
from ddr.conform.laws import chunks, observations
from ddr.conform.laws.structure import misshapen, problems
from ddr.conform.verdict import Failed, KitError
from tests.conform.test_chunk_laws import observed

LOINC, UCUM, SNOMED = "http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct"
VITAL = "http://terminology.hl7.org/CodeSystem/observation-category"
GLUCOSE = {"coding": [{"system": LOINC, "code": "99504-3"}]}
ORIGIN = {"value": 0, "system": UCUM, "code": "mg/dL"}
SAMPLED = {"origin": ORIGIN, "period": 300_000, "dimensions": 1, "data": "100"}


def part(code: str, **more: Any) -> dict[str, Any]:
    return {"code": {"coding": [{"system": LOINC, "code": code}]}, **more}


def codings(*systems: str) -> dict[str, Any]:
    return {"code": {"coding": [{"system": one, "code": "85354-9"} for one in systems]}}


@pytest.mark.parametrize(
    ("law", "resource", "said"),
    [
        (observations.sampled, {"code": GLUCOSE}, ""),
        (observations.sampled, {"code": GLUCOSE, "valueSampledData": SAMPLED}, ""),
        (
            observations.sampled,
            {"code": GLUCOSE, "valueSampledData": {"origin": ORIGIN, "data": "1"}},
            "valueSampledData lacks period, dimensions",
        ),
        (
            observations.sampled,
            {"code": GLUCOSE, "valueSampledData": {**SAMPLED, "origin": {**ORIGIN, "code": "mmol/L"}}},
            f"origin is in mmol/L of {UCUM}",
        ),
        (
            observations.sampled,
            {"code": GLUCOSE, "valueSampledData": {**SAMPLED, "dimensions": 2}},
            "dimensions is 2",
        ),
        (observations.period_of_chunk, {}, "no effectivePeriod with start and end"),
        (observations.period_of_chunk, {"effectivePeriod": {"start": "x"}}, "no effectivePeriod with start and end"),
        (
            observations.period_of_chunk,
            {"effectivePeriod": {"start": "x", "end": "y"}, "effectiveDateTime": "x"},
            "effectiveDateTime together with effectivePeriod",
        ),
        (observations.pressures, {"component": [part("8480-6", dataAbsentReason={})]}, ""),
        (
            observations.pressures,
            {"component": [part("8480-6")]},
            "a component has neither a value nor a dataAbsentReason",
        ),
        (
            observations.pressures,
            {"component": [part("8480-6", valueQuantity={"value": 1, "system": UCUM, "code": "mm[Hg]"})]},
            "a component's value lacks unit",
        ),
        (observations.anonymous, {}, ""),
        (observations.anonymous, {"subject": {"reference": "Patient/4f1c0d2e-a9"}}, ""),
        (observations.anonymous, {"subject": {"identifier": {"system": "urn:x", "value": "A12345678f"}}}, ""),
        (observations.anonymous, {"subject": {"display": "Anna"}}, "subject has a display"),
        *(
            (observations.anonymous, {"subject": named}, "subject has a health insurance number")
            for named in (
                {"reference": "Patient/A123456789"},
                {"identifier": {"value": "A123456789"}},
                {"identifier": {"system": "http://fhir.de/sid/gkv/kvid-10"}},
            )
        ),
        (
            observations.anonymous,
            {"subject": {"identifier": {"value": "a@x.example"}}},
            "subject has an email address",
        ),
        (observations.vital_signs, {"category": [{"coding": [{"system": VITAL, "code": "vital-signs"}]}]}, ""),
        (
            observations.vital_signs,
            {"category": [{"coding": [{"system": "https://x.example", "code": "vital-signs"}]}]},
            "the category vital-signs is missing",
        ),
        (observations.pressure_code, codings(LOINC, "https://x.example"), ""),
        (observations.pressure_code, codings(LOINC, SNOMED), f"the codings are of {LOINC}, {SNOMED}"),
        (observations.pressure_code, codings(LOINC, LOINC), f"the codings are of {LOINC}, {LOINC}"),
        (observations.pressure_code, codings("https://x.example"), "the codings are of https://x.example"),
        (
            observations.mandatory,
            {"status": "final", "effectiveDateTime": "2026", "component": [], "code": GLUCOSE},
            "neither a value nor a dataAbsentReason",
        ),
        (
            observations.mandatory,
            {"status": "final", "effectiveDateTime": "2026", "component": [], **codings(LOINC)},
            "",
        ),
        (observations.method, {}, "no method"),
        (observations.method, {"method": {"text": "own"}}, ""),
        (observations.unit, {"code": GLUCOSE, "valueQuantity": 7}, "no Quantity"),
        (observations.unit, {"code": GLUCOSE, "valueQuantity": {}}, "a Quantity without value"),
        (
            observations.unit,
            {"code": GLUCOSE, "valueQuantity": {"value": 7, "system": "http://units.example"}},
            "the system of the unit is http://units.example",
        ),
    ],
)
def test_an_observation_that_breaks_a_law_is_told(law: Any, resource: dict[str, Any], said: str) -> None:
    assert law(resource) == said


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"resourceType": "Observation", "status": "final", "category": []}, "Observation.category is an empty list"),
        ({"resourceType": "Practitioner", "id": "p"}, "Practitioner is not a resource type that is served"),
        ({"resourceType": "Observation", "contained": ["x"]}, "Observation.contained is not a resource"),
        ({"resourceType": "Observation", "contained": [{"id": "x"}]}, "Observation.contained is not a resource"),
        (
            {"resourceType": "Observation", "contained": [{"resourceType": "Device", "colour": "red"}]},
            "Device.colour is not an element of R4",
        ),
        ({"resourceType": "Device", "status": ""}, "Device.status: '' is not a valid code"),
        ({"resourceType": "Device", "type": "text"}, "Device.type is not an object"),
        ({"resourceType": "Device", "colour": "red"}, "Device.colour is not an element of R4"),
    ],
)
def test_what_is_no_resource_of_r4_is_told(resource: dict[str, Any], said: str) -> None:
    assert problems(resource) == [said]


def test_a_resource_may_contain_others_of_any_type() -> None:
    """Formerly an Organization was "no resource type that is served"."""
    owner = {"resourceType": "Organization", "id": "o", "name": "Muster AG"}
    assert problems({"resourceType": "Device", "contained": [owner], "owner": {"reference": "#o"}}) == []


def test_what_is_not_known_is_no_wrong_shape() -> None:
    assert list(misshapen({"resourceType": "Practitioner", "id": 7})) == []
    assert list(misshapen({"resourceType": "Device", "colour": "red"})) == []


def test_chunks_that_break_a_law_are_told() -> None:
    first, second, *_ = observed(timedelta(hours=1), timedelta(minutes=5))
    empty = replace(first, tokens=(), step=0.0)
    begins = replace(second, start=first.start + 60_000)
    assert list(chunks.overlaps([empty, begins])) == [f"{first.key} and {second.key} overlap"]
    gaps = replace(first, tokens=("E", "E"), status="preliminary")
    assert list(chunks.absent([gaps])) == [f"{first.key} holds only gaps but is not shown as temp-unknown"]
    told = [f"{first.key} has no values, reason none and status final"]
    assert list(chunks.absent([empty])) == told
    assert list(chunks.absent([replace(empty, reason="temp-unknown", status="preliminary")])) == []
    before_it = first.start - 3_600_000
    assert f"{first.key} has values in the future" in list(chunks.future([first], before_it))
    assert list(chunks.future([first], first.end + 1)) == []
    full, later = replace(first, tokens=("100",) * 12, status="preliminary"), first.end + 86_400_000
    assert [text.partition(" is ")[0] for text in chunks.unfinished([full, first], later)] == [first.key]
    lacking = [replace(first, status="preliminary"), replace(full, tokens=full.tokens[:-1])]
    assert list(chunks.unfinished(lacking, later)) == list(chunks.unfinished([full], first.end)) == []


@pytest.mark.parametrize(
    ("before", "now", "good"),
    [("1 2 E", "1 2", True), ("1 2 3", "1 2", False), ("1 E", "1 5 6", True), ("1 2", "1 3 4", False)],
)
def test_values_stay_in_a_chunk_that_grows(before: str, now: str, good: bool) -> None:
    assert chunks.kept(before.split(), now.split()) is good


def answer(content: Any) -> Exchange:
    return Exchange(1, "GET", "https://recorder.example/x", "", {}, "", 200, content=json.dumps(content).encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"expires_in": "600"}, "expires_in is '600'"),
        ({"expires_in": True}, "expires_in is True"),
        ({"expires_in": 600, "scope": "a b", "jwks_uri": 7}, ""),
        ({"access_token": "\n"}, "access_token is not a string as RFC 6749 allows"),
        ({"token_endpoint": None}, "token_endpoint is None"),
        ({"scopes_supported": "openid"}, "scopes_supported is 'openid'"),
        ({"scopes_supported": ["a", 7]}, "scopes_supported is ['a', 7]"),
        ({"resourceType": "Device", "type": []}, "Device.type is a list"),
    ],
)
def test_an_answer_of_another_shape_is_the_recorders_fault(content: Any, said: str) -> None:
    assert malformed(answer(content)) == said
    ended = blamed(TypeError("of a check"), [answer({}), answer(content)])
    assert isinstance(ended, Failed if said else KitError)
    assert (said or "TypeError: of a check (nowhere)") in str(ended)


@pytest.mark.parametrize(
    ("asked", "begins", "may"),
    [
        ("accu-chek g", True, True),
        ("AccuChek", False, True),
        ("accu chek", False, True),
        ("chek", False, False),
        ("Accu-Chek Guide Me", False, False),
    ],
)
def test_punctuation_and_blanks_of_a_text_are_left_to_the_server(asked: str, begins: bool, may: bool) -> None:
    case = search_devices._beginning("", lambda one: iter([str(one["name"])]), asked)
    one = {"name": "Accu-Chek Guide"}
    assert (case.wanted(one), case.wanted(one) or case.open(one)) == (begins, may)
    assert not (case.wanted(one) and case.open(one))
