"""Whole searches: which parameters are accepted, combined and rejected."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.outcome import FhirError
from ddr.fhir.search.grammar import CONTROLS, PARAMETERS, includes, revincludes
from ddr.fhir.search.parsing import flat_json, parse_search
from ddr.fhir.search.query import DateValue, Filter, Has, Include, ReferenceValue, Search, Sort, StringValue, TokenValue
from ddr.fhir.subset import Subset

NOW = 1_795_341_600_000
DAY = 86_400_000
BASE = "https://ddr.example/fhir"
Pairs = list[tuple[str, str]]


def search(*pairs: tuple[str, str], resource_type: str = "Observation") -> Search:
    return parse_search(resource_type, pairs, NOW, BASE)


def refusal(*pairs: tuple[str, str], resource_type: str = "Observation") -> str:
    with pytest.raises(FhirError) as caught:
        search(*pairs, resource_type=resource_type)
    assert caught.value.status == 400
    return caught.value.diagnostics or ""


def instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def test_nothing_asked_is_everything() -> None:
    assert search() == Search("Observation")


def test_commas_are_or_and_repetition_is_and() -> None:
    found = search(("code", "a,b"), ("code", "c"))
    a, b, c = (TokenValue(None, code) for code in "abc")
    assert found.filters == (Filter("code", (a, b)), Filter("code", (c,)))
    assert found.values("code") == ((a, b), (c,))


def test_representation_is_not_part_of_a_search() -> None:
    assert search(("_format", "xml"), ("_pretty", "true")) == Search("Observation")


@pytest.mark.parametrize(
    "name", ["foo", "code:not", "code:", "date:exact", "_id:exact", "_summary:x", "_text", "_totalMethod",
             "device.type", "_sort:x", "_sort:", "_count:x", "_count:", "_summary:", "_elements:", "_total:",
             "_has", "_has:", "_has:Observation", "_has:Observation:device:_has:x"],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(name: str) -> None:
    assert refusal((name, "1")).startswith(f"Unknown search parameter {name}")


def test_with_what_is_not_known_the_client_is_told_what_is() -> None:
    told = refusal(("foo", "1"), resource_type="Device")
    _, _, names = told.partition(". Supported search parameters: ")
    assert sorted(names.split(", ")) == sorted({*PARAMETERS["Device"], *CONTROLS})


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("subject", "subject"),
        ("patient", "patient"),
        ("subject:Patient", "subject"),
        ("patient.identifier", "patient.identifier"),
    ],
)
@pytest.mark.parametrize("resource_type", list(PARAMETERS))
def test_the_patient_is_never_a_parameter(name: str, named: str, resource_type: str) -> None:
    told = refusal((name, "Patient/1"), resource_type=resource_type)
    assert told.startswith(f"Search parameter {named} must not be given")


@pytest.mark.parametrize(
    "pairs",
    [
        [("date", "ge2026-02-01"), ("date", "le2026-01-31")],
        [("date", "ge2026-02-01T10:00:00.001Z"), ("date", "le2026-02-01T10:00:00.000Z")],
        [("date", "gt2026-02"), ("date", "lt2026-01")],
        [("date", "sa2026-02-01T10:00:00Z"), ("date", "eb2026-02-01T09:59:00Z")],
        [("_lastUpdated", "ge2027"), ("_lastUpdated", "le2026")],
    ],
)
def test_an_end_before_the_start_is_refused(pairs: Pairs) -> None:
    told = f"Invalid date/time format or date range: {pairs[0][0]}: the end is before the start"
    assert refusal(*pairs) == told


@pytest.mark.parametrize(
    "pairs",
    [
        [("date", "ge2026-01-01"), ("date", "le2026-01-01")],
        [("date", "ge2026-02-01T10:00:00.000Z"), ("date", "le2026-02-01T10:00:00.000Z")],
        [("date", "ge2026-02"), ("date", "le2026-02-01")],
        [("date", "ge2026-02"), ("_lastUpdated", "le2026-01")],
        [("date", "ge2026-02,ge2026-03"), ("date", "le2026-01")],
    ],
)
def test_other_ranges_are_taken(pairs: Pairs) -> None:
    assert len(search(*pairs).filters) == 2


def test_sort_keys_keep_their_order() -> None:
    assert search(("_sort", "-date,code")).sort == (Sort("date", True), Sort("code", False))


@pytest.mark.parametrize("text", [",", "foo", "date,", "--date", "component-code"])
def test_sort_keys_that_do_not_exist_are_refused(text: str) -> None:
    assert "_sort" in refusal(("_sort", text))


def test_sort_may_be_repeated_for_inner_keys() -> None:
    expected = (Sort("date", True), Sort("code", False), Sort("status", False))
    assert search(("_sort", "-date,code"), ("_sort", "status,-date")).sort == expected


def test_a_sort_key_counts_once() -> None:
    assert search(("_sort", ",".join(["-date"] * 3000))).sort == (Sort("date", True),)


@pytest.mark.parametrize(
    "pairs",
    [
        [("code", ",".join(["a"] * 1001))],
        [("code", "a")] * 1001,
        [("_has:Observation:derived-from:code", "a")] * 20,
        [("_has:Observation:derived-from:code", ",".join(["a"] * 500))] * 2,
        [("component-code", ",".join(["a"] * 101))],
        [("component-code-value-quantity", "a$1")] * 101,
        [("_has:Observation:derived-from:component-value-quantity", ",".join(["1"] * 96))],
    ],
)
def test_a_search_with_too_many_values_is_refused(pairs: Pairs) -> None:
    assert "more than 1000 values" in refusal(*pairs)


def test_a_search_with_many_values_is_taken() -> None:
    assert len(search(("code", ",".join(["a"] * 1000))).values("code")[0]) == 1000
    assert len(search(*[("code", "a")] * 1000).filters) == 1000
    assert len(search(*[("_has:Observation:derived-from:code", ",".join(["a"] * 50))] * 10).has) == 10
    assert len(search(("component-code", ",".join(["a"] * 100))).values("component-code")[0]) == 100


def test_texts_count_as_more_values() -> None:
    names = ("device-name", ",".join(["a"] * 40)), *[("manufacturer:contains", "a")] * 10
    assert len(search(*names, resource_type="Device").filters) == 11
    assert "a text value counts as 20" in refusal(*names, ("device-name:exact", "a"), resource_type="Device")


def test_long_texts_count_as_more_texts() -> None:
    assert search(("device-name", "a" * 4_900), resource_type="Device").filters
    assert "per 100 letters" in refusal(("device-name", "a" * 5_000), resource_type="Device")
    assert "per 100 letters" in refusal(("manufacturer", ",".join(["a" * 450] * 11)), resource_type="Device")


def test_controls_are_counted_with_the_rest() -> None:
    assert "more than 1000 values" in refusal(*[("_include", "Observation:device")] * 1001)


def test_count_may_be_zero() -> None:
    assert search(("_count", "0")).count == 0
    assert search(("_count", "50")).count == 50


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "1e3", "٣", "9999999999"])
def test_counts_that_are_no_number_are_refused(text: str) -> None:
    assert "_count" in refusal(("_count", text))


@pytest.mark.parametrize("name", ["_count", "_total"])
def test_controls_are_given_once(name: str) -> None:
    assert refusal((name, "1"), (name, "1")) == f"Parameter {name} must not be repeated"


def test_includes_of_both_kinds() -> None:
    found = search(("_include", "Observation:device"), ("_include:iterate", "DeviceMetric:source:Device"))
    assert found.includes == {
        Include("Observation", "device", None),
        Include("DeviceMetric", "source", "Device", iterate=True),
    }


def test_a_star_includes_every_reference_of_the_type() -> None:
    found = search(("_include", "*"))
    assert {include.name for include in found.includes} == {"device", "derived-from"}


def test_a_star_in_the_place_of_a_parameter_is_every_reference_of_the_type_before_it() -> None:
    every = {Include("Observation", "device", None), Include("Observation", "derived-from", None)}
    assert search(("_include", "Observation:*")).includes == every
    assert search(("_revinclude", "Observation:*"), resource_type="Device").revincludes == every
    assert search(("_include:iterate", "DeviceMetric:*")).includes == {Include("DeviceMetric", "source", None, True)}
    assert search(("_include", "Observation:*:Device")).includes == {Include("Observation", "device", "Device")}
    assert search(("_include", "Device:*"), ("_include", "*"), resource_type="Device").includes == frozenset()


@pytest.mark.parametrize(
    "value", ["Observation", "Observation:", "Observation:foo", "Observation:*:Patient", "Observation:*:", "Patient:*",
              "Device:*:Patient", "*:*", "Observation:device:", "Observation:device:Patient",
              "Patient:link", "Observation:code", "foo:bar"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["_include", "_include:iterate", "_revinclude"])
def test_includes_that_do_not_exist_are_refused(name: str, value: str) -> None:
    assert refusal((name, value)) == f"Invalid {name} parameter value: {value}"


def test_a_star_behind_revinclude_names_no_type_and_is_refused() -> None:
    assert refusal(("_revinclude", "*"), resource_type="Device") == "Invalid _revinclude parameter value: *"


@pytest.mark.parametrize("name", ["_include:recurse", "_include:", "_revinclude:iterate", "_revinclude:"])
def test_modifiers_of_includes_that_do_not_exist_are_refused(name: str) -> None:
    assert refusal((name, "Observation:device")) == f"Invalid {name} parameter value: Observation:device"


def test_revinclude_and_has_follow_references_backwards() -> None:
    found = search(("_revinclude", "Observation:device"), ("_has:Observation:device:code", "x"), resource_type="Device")
    assert found.revincludes == {Include("Observation", "device", None)}
    assert found.has == (Has("Observation", "device", Filter("code", (TokenValue(None, "x"),))),)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        *(
            (name, name)
            for name in ("_has:Observation:derived-from:code", "_has:Patient:x:y", "_has:Observation:code:date")
        ),
        ("_has:Observation:device:foo", "foo. Supported search parameters: _id"),
    ],
)
def test_has_along_references_that_do_not_lead_here_is_refused(name: str, named: str) -> None:
    assert refusal((name, "x"), resource_type="Device").startswith(f"Unknown search parameter {named}")


def test_the_grammar_knows_its_own_paths() -> None:
    assert includes("Observation") == ("Observation:device", "Observation:derived-from", "DeviceMetric:source")
    assert includes("Device") == ()
    assert revincludes("Device") == ("Observation:device", "DeviceMetric:source")
    for resource_type in PARAMETERS:
        for path in includes(resource_type):
            assert search(("_include", path), resource_type=resource_type).includes


def test_flat_json_repeats_lists() -> None:
    assert flat_json({"code": "a", "date": ["ge2026", "lt2027"], "_count": 5}) == [
        ("code", "a"), ("date", "ge2026"), ("date", "lt2027"), ("_count", "5"),
    ]  # fmt: skip


@pytest.mark.parametrize("body", [None, [], "x", {"code": {}}, {"code": [["x"]]}, {"code": True}, {"code": None}])
def test_json_that_is_not_flat_is_refused(body: object) -> None:
    with pytest.raises(FhirError) as caught:
        flat_json(body)
    assert caught.value.status == 400


NAMES = st.one_of(
    st.sampled_from([*PARAMETERS["Observation"], "_sort", "_count", "_include", "_has:Observation:device:code"]),
    st.text(max_size=12),
)


@given(st.sampled_from(list(PARAMETERS)), st.lists(st.tuples(NAMES, st.text(max_size=20)), max_size=4))
def test_any_text_is_parsed_or_refused(resource_type: str, pairs: Pairs) -> None:
    try:
        parse_search(resource_type, pairs, NOW, BASE)
    except FhirError as error:
        assert error.status == 400


def test_an_absolute_reference_counts_below_our_base_behind_has_too() -> None:
    url = f"{BASE}/Observation/a"
    ours = (ReferenceValue("Observation", "a"),)
    assert search(("derived-from", url)).filters[0].values == ours
    assert search(("_has:Observation:device:derived-from", url), resource_type="Device").has[0].filter.values == ours


def test_an_approximate_date_measures_from_now_behind_has_too() -> None:
    ten_days_ago = f"ap{instant(NOW - 10 * DAY)}"
    behind = search(("_has:Observation:device:date", ten_days_ago), resource_type="Device").has[0].filter
    for (value,) in (search(("date", ten_days_ago)).filters[0].values, behind.values):
        assert isinstance(value, DateValue)
        assert 2 * DAY <= value.high_ms - value.low_ms <= 2 * DAY + 1000


def test_a_star_includes_every_reference_of_the_searched_type() -> None:
    once = search(("_include", "*")).includes
    assert once == {Include("Observation", "device", None, False), Include("Observation", "derived-from", None, False)}


def test_a_star_behind_iterate_is_every_reference_of_whatever_is_reached() -> None:
    reached = {Include("Observation", "device", None, True), Include("Observation", "derived-from", None, True)}
    assert search(("_include:iterate", "*")).includes == reached | {Include("DeviceMetric", "source", None, True)}
    assert search(("_include:iterate", "*"), resource_type="Device").includes >= reached


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "The search must be a flat JSON object of parameters"),
        ({"code": None}, "Parameter code must be a string, a number, or an array of these"),
        ({"code": [True]}, "Parameter code must be a string, a number, or an array of these"),
    ],
)
def test_a_json_search_that_is_not_flat_is_told_so(body: Any, told: str) -> None:
    with pytest.raises(FhirError) as caught:
        flat_json(body)
    assert (caught.value.status, caught.value.diagnostics) == (400, told)


@pytest.mark.parametrize("name", ["_has:Observation:device:_has", "_has:Observation:device:_has:x", "_summary:a:b"])
def test_a_name_is_refused_as_it_was_given(name: str) -> None:
    assert refusal((name, "1"), resource_type="Device").startswith(f"Unknown search parameter {name}")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("_sort", "-x", "_sort: x"),
        ("_count", "x", "_count: x"),
        ("_total", "x", "_total: x"),
        ("component-code-value-quantity", "a", "component-code-value-quantity: a"),
        ("component-code-value-quantity", "a|b|c$5", "component-code-value-quantity: a|b|c"),
        ("component-code-value-quantity", "8480-6$x", "component-code-value-quantity: x"),
    ],
)
def test_a_value_that_is_none_is_named_with_its_parameter(name: str, text: str, told: str) -> None:
    assert refusal((name, text)) == f"Invalid value of search parameter {told}"


def test_a_total_can_be_declined() -> None:
    assert search(("_total", "none")).total is False
    assert search(("_total", "estimate")).total is True
    assert search(("_total", "accurate")).total is True


def test_a_parameter_without_a_value_is_ignored() -> None:
    """FHIR R4 search.html#errors: no error; whether a value is there says nothing about the name."""
    names = ["code", "date", "_id", "device", "value-quantity", "_sort", "_count", "_total", "_summary", "_elements"]
    for name in [*names, "_include", "_include:iterate", "_revinclude", "_has:Observation:derived-from:code"]:
        assert search((name, "")) == Search("Observation")
        assert search((name, ""), ("status", "final"), (name, "")) == search(("status", "final"))
    assert search(("device-name:exact", ""), resource_type="Device") == Search("Device")
    for name in ("foo", "code:not", "code:", "_sort:", "_include:recurse", "_has", "_has:Observation:device:foo"):
        assert refusal((name, "")).startswith("Unknown search parameter")
    assert refusal(("subject", "")).startswith("Search parameter subject must not be given")


@pytest.mark.parametrize("text", ["a,,b", "a,", ",a", ","])
def test_a_value_between_commas_is_not_left_out(text: str) -> None:
    assert refusal(("code", text)) == "Invalid value of search parameter code: "


def test_a_page_of_nothing_brings_the_total() -> None:
    assert search(("_count", "0"), ("_total", "none")).total is True


def test_who_asks_for_the_count_only_gets_no_resources_and_always_the_total() -> None:
    found = search(("_summary", "count"), ("_count", "7"), ("_total", "none"))
    assert (found.count, found.total, found.subset) == (0, True, Subset("count"))


def test_a_part_of_each_resource_is_asked_for_in_the_words_of_its_type() -> None:
    assert search(("_summary", "true"), ("_elements", "status,value")).subset == Subset("true", ("status", "value"))
    assert search(("_elements", "Device.owner"), resource_type="Device").subset == Subset("false", ("owner",))
    assert refusal(("_elements", "owner")) == "Invalid value of search parameter _elements: owner"


@pytest.mark.parametrize("name", ["_include", "_revinclude"])
def test_a_summary_of_texts_has_no_place_for_other_resources(name: str) -> None:
    pairs = (name, "Observation:derived-from"), ("_summary", "text")
    assert refusal(*pairs) == (
        "Invalid value of search parameter _summary: text cannot be combined with _include or _revinclude"
    )
    assert search(pairs[1]).subset == Subset("text")
    assert search(pairs[0], ("_summary", "data"))


def test_a_modifier_that_exists_is_taken() -> None:
    found = search(("device-name:exact", "Ä"), resource_type="Device")
    assert found.filters == (Filter("device-name", (StringValue("exact", "Ä"),)),)
