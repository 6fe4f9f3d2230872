"""Other vendors' recorders: what HDDT and FHIR leave open must not matter."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.client import (
    Change,
    Cursor,
    FileTokens,
    Grant,
    Kind,
    Recorder,
    Refused,
    Series,
    Throttled,
    Unanswered,
    Unreachable,
    readings,
)
from ddr.client.pull import Known
from ddr.client.series import expected_of
from ddr.fhir.xml_writer import write_xml
from tests.client.foreign import DIGA, FHIR, PAIRING, Answer, Foreign, Json, bundle, chunk, recorder_of, resource

DEVICE = {"resourceType": "Device", "id": "1", "serialNumber": "S"}
METRIC = {
    "resourceType": "DeviceMetric",
    "id": "m",
    "source": {"reference": f"{FHIR}/Device/1"},
    "calibration": [{"state": "calibrated"}],
}
BY_METRIC: Json = {"device": {"reference": "DeviceMetric/m"}}


async def changes(foreign: Foreign, folder: Path, since: Cursor | None = None) -> list[Change]:
    recorder = await recorder_of(foreign, folder)
    return [change async for change in recorder.pull(since)]


async def only(foreign: Foreign, folder: Path) -> Any:
    """The readings of what is found."""
    return Series(await changes(foreign, folder)).readings()


@pytest.mark.parametrize(
    "page",
    [
        bundle(chunk("c", **BY_METRIC), METRIC, DEVICE),
        bundle(DEVICE, METRIC, chunk("c", **BY_METRIC)),
        bundle(chunk("c", device={"reference": f"{FHIR}/DeviceMetric/m/_history/3"}), DEVICE, METRIC),
        bundle(chunk("c", device={"reference": "#m"}, contained=[METRIC]), DEVICE),
        bundle(
            chunk(
                "c",
                device={"reference": "#m"},
                contained=[{**METRIC, "source": {"reference": "#d"}}, {**DEVICE, "id": "d"}],
            )
        ),
        bundle(chunk("c", **BY_METRIC), {"resourceType": "OperationOutcome", "issue": []}, METRIC, DEVICE, unknown=[1]),
    ],
    ids=["matches first", "includes first", "absolute, with version", "contained", "all contained", "extra elements"],
)
async def test_device_and_calibration_are_found(page: Json, tmp_path: Path) -> None:
    found = await only(Foreign({"Observation?": page}), tmp_path)
    assert [(one.value, one.serial, one.calibration) for one in found] == [
        (Decimal(100), "S", "calibrated"),
        (Decimal(101), "S", "calibrated"),
    ]


def of_version(number: str, state: str) -> Json:
    return {**METRIC, "meta": {"versionId": number}, "calibration": [{"state": state}]}


@pytest.mark.parametrize("included", [0, 1, 2])
async def test_values_keep_the_calibration_that_they_were_measured_under(included: int, tmp_path: Path) -> None:
    """HDDT leaves to a recorder whether a change of calibration.state is another DeviceMetric or another version of it.
    Before: all values had the state of the version that came last."""
    first, second = of_version("1", "not-calibrated"), of_version("2", "calibrated")
    chunks = [chunk(name, device={"reference": f"DeviceMetric/m/_history/{name}"}) for name in ("1", "2")]
    foreign = Foreign(
        {
            "Observation?": bundle(*chunks, *(second, first)[:included], DEVICE),
            "DeviceMetric/m/_history/1": first,
            "DeviceMetric/m/_history/2": second,
        }
    )
    found = {(one.observation_id, one.serial, one.calibration) for one in await only(foreign, tmp_path)}
    assert found == {("1", "S", "not-calibrated"), ("2", "S", "calibrated")}
    assert len(foreign.asked) == 3 - included, "what came is not asked for again"


@pytest.mark.parametrize("status", [400, 404, 405, 410, 501])
async def test_a_version_that_is_not_served_is_the_one_that_is_there(status: int, tmp_path: Path) -> None:
    """Who keeps none may say so in any way: nothing that is included depends on it."""
    one = "DeviceMetric/m/_history/1"
    page = bundle(chunk("c", device={"reference": one}), of_version("2", "calibrated"), DEVICE)
    foreign = Foreign({one: lambda _: httpx.Response(status), "Observation?": page})
    found = {(one.serial, one.calibration) for one in await only(foreign, tmp_path)}
    assert found == {("S", "calibrated")} and len(foreign.asked) == 2


@pytest.mark.parametrize("meta", [{}, {"meta": {}}, {"meta": {"profile": ["https://x.example/p"]}}])
async def test_changes_are_told_without_version_and_stamp(meta: Json, tmp_path: Path) -> None:
    """FHIR demands neither. Before: a correction, and that it was entered in error, was never told."""

    def value(number: int, status: str) -> Json:
        one = chunk("c", status=status, valueSampledData={**chunk("c")["valueSampledData"], "data": f"{number}"})
        return bundle({**{name: part for name, part in one.items() if name != "meta"}, **meta})

    pages, told, cursor = [value(100, "final"), value(100, "final"), value(90, "amended")], list[Kind](), Cursor()
    for page in [*pages, value(90, "entered-in-error")]:
        recorder = await recorder_of(Foreign({"Observation?": page}), tmp_path)
        (step,) = [step async for step in recorder.steps(cursor)]
        told += [one.kind for one in step.changes]
        cursor = Cursor.from_json(step.cursor.to_json())
    assert told == [Kind.NEW, Kind.AMENDED, Kind.ENTERED_IN_ERROR]


async def test_what_is_consented_to_later_comes_with_the_next_pull(tmp_path: Path) -> None:
    """Its `lastUpdated` may be of long ago: HDDT says nothing of it. Before: nobody asked for it any more."""
    later, shown = "patient/Observation.rs?code:in=b", [chunk("a")]

    def answer(request: httpx.Request) -> httpx.Response:
        return resource(bundle() if "_lastUpdated" in str(request.url) else bundle(*shown))

    foreign = Foreign({"Observation?": answer})
    recorder, tokens = await recorder_of(foreign, tmp_path), FileTokens(tmp_path / "tokens")
    told, cursor = list[list[str]](), Cursor()
    for scope in ("a", "a", f"a {later}", f"{later} a", "a"):
        await tokens.save(Grant(PAIRING, scope, "r0", "a0", 4e9))
        if later in scope:
            shown[1:] = [chunk("old", "2026-11-01T12:00:00Z")]
        steps = [step async for step in recorder.steps(cursor)]
        told.append([one.id for step in steps for one in step.changes])
        cursor = Cursor.from_json(steps[-1].cursor.to_json())
    assert told == [["a"], [], ["old"], [], []]
    assert ["_lastUpdated" in url for url in foreign.asked] == [False, True, False, True, True]


async def test_without_a_metric_the_device_is_named_itself(tmp_path: Path) -> None:
    page = bundle(chunk("c", device={"reference": "Device/1"}), DEVICE)
    assert {(one.serial, one.calibration) for one in await only(Foreign({"Observation?": page}), tmp_path)} == {
        ("S", None)
    }


async def test_what_is_not_included_is_read(tmp_path: Path) -> None:
    foreign = Foreign({"Observation?": bundle(chunk("c", **BY_METRIC)), "DeviceMetric/m": METRIC, "Device/1": DEVICE})
    assert {one.serial for one in await only(foreign, tmp_path)} == {"S"}
    missing = Foreign({"Observation?": bundle(chunk("c", **BY_METRIC))})
    assert {one.serial for one in await only(missing, tmp_path)} == {None}, "values count without their device, too"


async def test_pages_may_be_relative_empty_and_overlap(tmp_path: Path) -> None:
    foreign = Foreign(
        {
            "Observation?p=2": bundle(following=f"{FHIR}/?page=opaque%7C3"),
            "?page": bundle(chunk("a"), chunk("b")),
            "Observation?": bundle(chunk("a"), following="Observation?p=2"),
        }
    )
    found = await changes(foreign, tmp_path)
    assert [(change.kind, change.id) for change in found] == [(Kind.NEW, "a"), (Kind.NEW, "b")]
    assert found[-1].cursor is not None and found[-1].cursor.following == ""


async def test_a_pull_that_was_cut_goes_on_with_its_page(tmp_path: Path) -> None:
    pages: dict[str, Json | Answer] = {
        "Observation?p=2": bundle(chunk("b")),
        "Observation?": bundle(chunk("a"), following=f"{FHIR}/Observation?p=2"),
    }
    recorder = await recorder_of(Foreign(pages), tmp_path)
    (change,) = [change async for change in recorder.pull() if change.id == "a"]
    assert change.cursor is not None and change.cursor.following
    again = Foreign(pages)
    assert [one.id for one in await changes(again, tmp_path, change.cursor)] == ["b"]
    assert again.asked == ["Observation?p=2"]


async def test_the_stamp_of_the_first_page_is_the_cursor(tmp_path: Path) -> None:
    """What changes while pages are read may stand on a page that was read, with a stamp older than the last page's."""
    first, last = ({"lastUpdated": f"2026-11-20T12:{minute}:00Z"} for minute in ("10", "40"))
    pages = {
        "Observation?p=2": bundle(chunk("b"), meta=last),
        "Observation?": bundle(chunk("a"), following=f"{FHIR}/Observation?p=2", meta=first),
    }
    one, two = await changes(Foreign(pages), tmp_path)
    assert two.cursor is not None and two.cursor.since == "2026-11-20T12:09:00.000Z"
    assert one.cursor is not None and Cursor.from_json(one.cursor.to_json()) == one.cursor
    (resumed,) = await changes(Foreign(pages), tmp_path, one.cursor)
    assert resumed.cursor == two.cursor


async def test_a_page_that_is_not_kept_any_more_is_searched_anew(tmp_path: Path) -> None:
    page = chunk("a")
    cursor = Cursor("", {"a": Known("1@" + page["meta"]["lastUpdated"], "")}, f"{FHIR}/Observation?p=2")
    foreign = Foreign(
        {
            "Observation?p=2": lambda _: resource({"resourceType": "OperationOutcome"}, 410),
            "Observation?": bundle(page, chunk("b")),
        }
    )
    assert [one.id for one in await changes(foreign, tmp_path, cursor)] == ["b"]


@pytest.mark.parametrize("status", [500, 502, 200])
async def test_a_page_that_is_never_answered_again_is_searched_anew(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: the page was asked for with each pull, and nothing new was told any more."""
    monkeypatch.setattr("ddr.client.recorder.TRIES", 1)
    foreign = Foreign(
        {"Observation?p=2": lambda _: httpx.Response(status, text="gone"), "Observation?": bundle(chunk("b"))}
    )
    cursor = Cursor("", {}, f"{FHIR}/Observation?p=2")
    assert [one.id for one in await changes(foreign, tmp_path, cursor)] == ["b"]


async def test_a_recorder_that_is_away_is_asked_for_the_same_page_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.client.recorder.TRIES", 1)
    away = Foreign({"Observation?": lambda _: httpx.Response(502)})
    with pytest.raises(Unreachable, match="502"):
        await changes(away, tmp_path, Cursor("", {}, f"{FHIR}/Observation?p=2"))
    assert away.asked[0] == "Observation?p=2"


@pytest.mark.parametrize("status", [429, 503])
async def test_who_is_told_to_wait_waits_as_long_as_its_patience(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: four times, and then the recorder was said not to answer."""
    waited = list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("ddr.client.recorder.asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr("ddr.client.recorder.random", SimpleNamespace(uniform=lambda *_: 0.5))
    busy = [6]

    def answer(_: httpx.Request) -> httpx.Response:
        busy[0] -= 1
        return httpx.Response(status, headers={"retry-after": "10"}) if busy[0] >= 0 else resource(bundle(chunk("a")))

    assert [one.id for one in await changes(Foreign({"Observation?": answer}), tmp_path)] == ["a"]
    assert waited == [10.5] * 6
    busy[0] = 100
    with pytest.raises(Throttled, match="try again in 10 s"):
        await changes(Foreign({"Observation?": answer}), tmp_path)
    assert len(waited) == 6 + 11, "120 seconds"


@pytest.mark.parametrize("place", [0, 1])
async def test_a_code_of_the_makers_may_come_first(place: int, tmp_path: Path) -> None:
    """FHIR gives codings no order. Before: the first one was the code of a reading, whatever its system."""
    codings = [{"system": "http://loinc.org", "code": "99504-3"}]
    codings.insert(place, {"system": "urn:iso:std:iso:11073:10101", "code": "160212"})
    found = await changes(Foreign({"Observation?": bundle(chunk("a", code={"coding": codings}))}), tmp_path)
    assert {one.code for one in Series(found).readings(codes=["99504-3"])} == {"99504-3"}


async def test_without_a_stamp_of_the_bundle_the_newest_resource_is_the_cursor(tmp_path: Path) -> None:
    (change,) = await changes(Foreign({"Observation?": bundle(chunk("a"))}), tmp_path)
    assert change.cursor is not None and change.cursor.since == "2026-11-20T11:59:00.000Z"
    again = Foreign({"Observation?": bundle(chunk("a"))})
    assert await changes(again, tmp_path, change.cursor) == []
    assert "_lastUpdated=ge2026-11-20T11%3A59%3A00.000Z" in again.asked[0]


async def test_one_without_last_updated_is_asked_for_everything(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "_lastUpdated" in str(request.url):
            return resource({"resourceType": "OperationOutcome", "issue": [{"code": "not-supported"}]}, 400)
        return resource(bundle(chunk("a"), chunk("b")))

    (first, second) = await changes(Foreign({"Observation?": answer}), tmp_path)
    assert first.cursor is None and second.cursor is not None
    known = {name: one for name, one in second.cursor.known.items() if name == "a"}
    found = await changes(Foreign({"Observation?": answer}), tmp_path, Cursor(second.cursor.since, known))
    assert [change.id for change in found] == ["b"]


async def test_xml_alone_will_do(tmp_path: Path) -> None:
    page = bundle(chunk("c", **BY_METRIC), {**DEVICE, "version": [{"value": "1.2"}]}, METRIC, total=1)

    def answer(request: httpx.Request) -> httpx.Response:
        assert "application/fhir+xml" in request.headers["accept"]
        return httpx.Response(200, content=write_xml(page), headers={"content-type": "application/fhir+xml"})

    found = await only(Foreign({"Observation?": answer}), tmp_path)
    assert {(one.serial, one.calibration) for one in found} == {("S", "calibrated")}
    assert found[0].value == Decimal(100)


async def test_a_number_of_xml_that_is_none_is_the_affair_of_its_observation(tmp_path: Path) -> None:
    """Before: nothing of the whole page could be read."""
    page = write_xml(bundle(chunk("odd"), chunk("c"), total=2))
    odd = re.sub(rb'<period value="[^"]*"', b'<period value="soon"', page, count=1)
    answer = httpx.Response(200, content=odd, headers={"content-type": "application/fhir+xml"})
    series = Series(await changes(Foreign({"Observation?": lambda _: answer}), tmp_path))
    assert {one.observation_id for one in series.readings()} == {"c"} and series.unreadable() == ["odd"]


async def test_what_is_served_for_longer_than_its_history_is_new_once_and_gone_once(tmp_path: Path) -> None:
    """Before: each look at everything made it new again, and gone again: once a day all rows of it."""
    old = chunk("old", effectivePeriod={"start": "2020-01-01T00:00:00Z"})
    all_pages, nothing = bundle(old, following="Observation?p=2"), bundle()

    def answer(request: httpx.Request) -> httpx.Response:
        return resource(nothing if "_lastUpdated" in str(request.url) else all_pages)

    recorder = await recorder_of(Foreign({"Observation?p=2": bundle(chunk("a")), "Observation?": answer}), tmp_path)
    recorder._history, cursor, told = timedelta(days=1200), Cursor(), list[tuple[Kind, str]]()
    for whole in (True, False, True, False, True):
        async for step in recorder.steps(cursor.whole() if whole else cursor):
            told += [(one.kind, one.id) for one in step.changes]
            cursor = step.cursor
    assert told == [(Kind.NEW, "old"), (Kind.NEW, "a"), (Kind.GONE, "old")]


async def test_a_limit_of_requests_keeps_no_look_at_everything_from_its_end(tmp_path: Path) -> None:
    """Of what is missing and old the recorder is asked why. Before: a limit amid that began it anew, for ever, and
    nothing new was told any more."""
    gone = resource({"resourceType": "OperationOutcome", "issue": [{"diagnostics": "historic period"}]}, 404)
    left = [2]  # requests before it comes

    def limited(_: httpx.Request) -> httpx.Response:
        left[0] -= 1
        return gone if left[0] >= 0 else httpx.Response(429, headers={"retry-after": "60"})

    foreign = Foreign({"Observation/": limited, "Observation?": bundle(chunk("new"))})
    recorder = await recorder_of(foreign, tmp_path)
    recorder._patience, told = 0.0, list[list[tuple[Kind, str]]]()
    cursor = Cursor("2026-11-20T11:00:00Z", {name: Known("1", "2020-01-01") for name in "abcde"})
    for limit in (True, True, False, False):
        with pytest.raises(Throttled) if limit else nullcontext():
            async for step in recorder.steps(cursor.whole()):
                assert step.changes == () or step.changes[-1].cursor == step.cursor
                told.append([(one.kind, one.id) for one in step.changes])
                cursor, left[0] = Cursor.from_json(step.cursor.to_json()), 2
    news = (Kind.NEW, "new")
    assert told == [
        [news, (Kind.GONE, "a"), (Kind.GONE, "b")],
        [(Kind.GONE, "c"), (Kind.GONE, "d")],
        [(Kind.GONE, "e")],
        [],
    ]


@pytest.mark.parametrize("first", [True, False])
async def test_what_is_no_page_of_a_search_is_no_empty_one(first: bool, tmp_path: Path) -> None:
    """Before: all that was known was told as deleted."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}
    page = outcome if first else bundle(following="Observation?p=2")
    known = Cursor("2026-11-20T11:00:00Z", {"a": Known("1", "")}).whole()
    with pytest.raises(Unreachable, match="is not a Bundle"):
        await changes(Foreign({"Observation?p=2": outcome, "Observation?": page}), tmp_path, known)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(404, text="<html>"), f"404 error: Not Found: {FHIR}/Observation"),
        (
            httpx.Response(302, headers={"location": "https://new.example/fhir"}),
            f"302 error: Found: {FHIR}/Observation leads to https://new.example/fhir, which is not followed",
        ),
    ],
)
async def test_a_refusal_without_words_says_of_which_address(answer: httpx.Response, said: str, tmp_path: Path) -> None:
    """Before: "404 error: Not Found", and nobody knew whether the issuer or the FHIR base was another."""
    with pytest.raises(Refused) as refused:
        await changes(Foreign({"Observation?": lambda _: answer}), tmp_path)
    assert str(refused.value) == said


async def test_links_to_others_are_not_followed(tmp_path: Path) -> None:
    foreign = Foreign({"Observation?": bundle(chunk("a"), following="https://evil.example/fhir/Observation?p=2")})
    with pytest.raises(Refused, match="another server"):
        await changes(foreign, tmp_path)


async def test_a_date_says_when_to_come_back(tmp_path: Path) -> None:
    late = {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}
    foreign = Foreign({"Observation?": lambda _: httpx.Response(429, headers=late)})
    with pytest.raises(Throttled) as throttled:
        await changes(foreign, tmp_path)
    assert throttled.value.retry_seconds >= 7 * 86_400, "not waited for"


async def test_an_answer_of_something_in_between_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.client.recorder.random.uniform", lambda *_: 0)
    answers = [httpx.Response(200, text="<html>"), httpx.Response(502), resource(bundle(chunk("a")))]
    foreign = Foreign({"Observation?": lambda _: answers.pop(0)})
    assert [change.id for change in await changes(foreign, tmp_path)] == ["a"]


def test_other_forms_of_chunks() -> None:
    absolute = chunk("a", device={"reference": "https://other.example/fhir/Device/1"})
    sampled = {
        "origin": {"value": 10, "unit": "mg/dL"},
        "factor": 0.5,
        "period": 60000,
        "data": "E 4 U",
        "upperLimit": 400,
    }
    scaled = chunk("b", valueSampledData=sampled, status="preliminary")
    absent = {"coding": [{"code": "temp-unknown"}]}
    empty = chunk("c", valueSampledData=None, dataAbsentReason=absent)
    wrong = chunk("d", status="entered-in-error")
    found = list(readings([absolute, scaled, empty, wrong], {"Device/1": DEVICE}))
    assert [(one.observation_id, one.value, one.sign, one.final, one.serial) for one in found] == [
        ("a", Decimal(100), "", True, "S"),
        ("b", Decimal(12), "", False, None),
        ("b", None, "U", False, None),
        ("a", Decimal(101), "", True, "S"),
    ]
    assert found[0].time == datetime.fromisoformat("2026-11-20T07:00:00+00:00")
    expected = expected_of(empty, {})
    assert expected is not None and (expected.end - expected.start).total_seconds() == 599
    assert expected_of(scaled, {}) is None


@given(st.lists(st.lists(st.one_of(st.integers(40, 400), st.sampled_from(["E", "L", "U"])), max_size=40), max_size=9))
def test_other_lengths_of_chunks_are_the_same_series(parts: list[list[int | str]]) -> None:
    """However a series is cut, it is the series; amended chunks take the place of what they were."""
    start = datetime.fromisoformat("2026-11-20T08:00:00+01:00").timestamp()
    changes, place = [], 0
    for number, part in enumerate(parts):
        at = datetime.fromtimestamp(start + place * 300).astimezone().isoformat()
        place += len(part)
        for text in ("100 " * len(part), " ".join(map(str, part))):
            data = {"origin": {"value": 0, "code": "mg/dL"}, "period": 300000, "data": text}
            one = chunk(str(number), effectivePeriod={"start": at}, valueSampledData=data)
            changes.append(Change(Kind.AMENDED, one["id"], one, {}))
    found = {
        round(one.time.timestamp() - start) // 300: one.sign or int(one.value or 0)
        for one in Series(changes).readings()
    }
    whole = [value for part in parts for value in part]
    assert found == {at: value for at, value in enumerate(whole) if value != "E"}


def test_glucose_in_the_other_unit() -> None:
    (first, _) = readings([chunk("a")], {})
    millimoles = first.within("mmol/L")
    assert millimoles.unit == "mmol/L" and round(millimoles.value or 0, 2) == Decimal("5.55")
    back = millimoles.within("mg/dL").value
    assert back is not None and abs(back - 100) < Decimal("1e-20")


@pytest.mark.parametrize("circle", ["Observation?p=2", f"{FHIR}/Observation?p=1"])
async def test_pages_in_a_circle_come_to_an_end(circle: str, tmp_path: Path) -> None:
    pages = {
        "Observation?p=2": bundle(chunk("b"), following=circle),
        "Observation?p=1": bundle(chunk("a"), following="Observation?p=2"),
        "Observation?": bundle(chunk("a"), following="Observation?p=1"),
    }
    with pytest.raises(Refused, match="back to a page that was already read"):
        await changes(foreign := Foreign(pages), tmp_path)
    recorder = await recorder_of(Foreign(pages), tmp_path)
    with pytest.raises(Refused, match="back to a page that was already read"):
        [_ async for _ in recorder.pages("Observation", {"code": "x"})]
    assert len(foreign.asked) <= 4


@pytest.mark.parametrize("base", ["https://data.example:443/r4/fhir", "HTTPS://DATA.example/r4/fhir"])
async def test_a_server_is_the_same_however_its_address_is_written(base: str, tmp_path: Path) -> None:
    pages = {"Observation?p=2": bundle(chunk("b")), "Observation?": bundle(following=f"{base}/Observation?p=2")}
    assert [one.id for one in await changes(Foreign(pages), tmp_path)] == ["b"]


@pytest.mark.parametrize("link", ["Observation?p=\x7f", "Observation?p=\ud800", "Observation?p=" + 70_000 * "x"])
async def test_an_address_that_nobody_can_ask_is_an_error_of_the_client(link: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the URL is not valid"):
        await changes(Foreign({"Observation?": bundle(following=link)}), tmp_path)


@pytest.mark.parametrize("link", ["https://data.example:99999/", "https://[data.example/", "https://data.example:444/"])
async def test_an_address_that_is_none_is_no_page(link: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="leads to another server"):
        await changes(Foreign({"Observation?": bundle(following=link)}), tmp_path)


@pytest.mark.parametrize(
    "odd",
    [
        {"entry": {"resource": {}}},
        {"entry": [None]},
        {"entry": [{"resource": []}, {"resource": "x"}]},
        {"entry": [{"resource": {"resourceType": "Observation", "id": ["a"]}}]},
        {"entry": [{"resource": {"resourceType": "Observation", "id": "a", "meta": "x"}}]},
        {"link": "x"},
        {"meta": "x"},
        {"link": [None]},
        {"link": [{"relation": "next", "url": 5}]},
    ],
)
async def test_a_bundle_of_another_form_is_an_error_of_the_client(
    odd: Json, tmp_path: Path, pauses: list[float]
) -> None:
    page = {"resourceType": "Bundle", "type": "searchset", **odd}
    with pytest.raises(Unreachable, match="not a valid FHIR Bundle"):
        await changes(Foreign({"Observation?": page}), tmp_path)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client waits for, which it does not. Whatever else is in this process waits as ever."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("ddr.client.recorder.asyncio", SimpleNamespace(sleep=sleep))
    return found


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_recorder_that_fails_is_asked_again_with_growing_pauses(
    status: int, tmp_path: Path, pauses: list[float]
) -> None:
    foreign = Foreign({"Observation?": lambda _: httpx.Response(status)})
    with pytest.raises(Unreachable, match=f"responds with {status}"):
        await changes(foreign, tmp_path)
    assert len(foreign.asked) == 4
    assert [low <= one <= 2 * low for low, one in zip((0.5, 1, 2), pauses, strict=True)] == [True] * 3


async def test_a_leap_second_is_a_time_and_what_is_none_keeps_no_pull_from_going_on(tmp_path: Path) -> None:
    leap = chunk("c", effectivePeriod={"start": "2026-12-31T23:59:60Z"})
    assert [
        f"{one.time:%Y-%m-%d %H:%M:%S}" for one in await only(Foreign({"Observation?": bundle(leap)}), tmp_path)
    ] == [
        "2027-01-01 00:00:00",
        "2027-01-01 00:05:00",
    ]
    broken = Cursor("", {"c": Known("1@", "yesterday"), "old": Known("1@", "2020-01-01T00:00:00.5Z")})
    tokens = FileTokens(tmp_path / "tokens")
    recorder = Recorder(DIGA, Foreign({"Observation?": bundle()}).http(), tokens, PAIRING, history=timedelta(days=30))
    assert [(one.kind, one.id) async for one in recorder.pull(broken)] == [(Kind.GONE, "old")]


def outcome(text: str, status: int) -> Answer:
    issue = {"severity": "error", "code": "processing", "details": {"text": text}}
    return lambda _: resource({"resourceType": "OperationOutcome", "issue": [issue]}, status)


async def missing(foreign: Foreign, folder: Path, names: list[str], history: timedelta | None) -> list[str]:
    """What is told as gone of Observations of 20 days ago, and one of yesterday, that are not found any more."""
    recorder = await recorder_of(foreign, folder)
    recorder._history, recorder._clock = history, datetime.fromisoformat("2026-11-21T12:00:00Z").timestamp
    known = {name: Known("1@", "2026-11-01T12:00:00Z") for name in names} | {"young": Known("1@", "2026-11-20")}
    found = [one async for one in recorder.pull(Cursor("", known).whole())]
    assert [one.id for one in found] == [*names, "young"] and found[-1].cursor is not None
    assert {one.kind for one in found} <= {Kind.GONE, Kind.DELETED}
    return [one.id for one in found if one.kind is Kind.GONE]


OUTSIDE = "Outside the historic period of 14 days"


@pytest.mark.parametrize("days", [None, 30])
async def test_each_kind_of_data_may_have_a_history_of_its_own(days: int | None, tmp_path: Path) -> None:
    """Before: what had grown too old by a shorter one was deleted."""
    pages: dict[str, Json | Answer] = {
        "Observation/a": outcome(OUTSIDE, 404),
        "Observation/b": outcome(OUTSIDE, 410),
        "Observation/erased": outcome("Resource was deleted", 410),
        "Observation/hidden": outcome("Not yours", 403),
        "Observation/served": chunk("served"),
        "Observation?": bundle(),
    }
    foreign, names = Foreign(pages), ["a", "erased", "b", "unknown", "hidden", "served"]
    gone = ["a", "b", "served"]  # the last one is in use by another one, say, and is found by no search
    assert await missing(foreign, tmp_path, names, None if days is None else timedelta(days=days)) == gone
    assert foreign.asked[1:] == [f"Observation/{name}" for name in names], "none that is too young for any"


@pytest.mark.parametrize("total", [None, 1, 3])
@pytest.mark.parametrize("most", [1000, 1])
async def test_what_a_recorder_does_not_show_without_pages_is_not_deleted(
    most: int, total: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDDT lets it answer with a limited number. Before: each look at everything told the rest as deleted."""
    monkeypatch.setattr("ddr.client.recorder.MOST_ASKED", most)
    page = bundle(chunk("shown")) if total is None else bundle(chunk("shown"), total=total)
    pages: dict[str, Json | Answer] = {
        "Observation/served": chunk("served"),
        "Observation/erased": outcome("Resource was deleted", 410),
        "Observation?": page,
    }
    recorder = await recorder_of(foreign := Foreign(pages), tmp_path)
    recorder._clock = datetime.fromisoformat("2026-11-21T12:00:00Z").timestamp
    known = {name: Known("1@", "2026-11-20T12:00:00Z") for name in ("erased", "served")}
    (step,) = [step async for step in recorder.steps(Cursor("", known).whole())]
    told = [one.id for one in step.changes if one.kind is Kind.DELETED]
    if total == 3:
        assert (told, foreign.asked[1:]) == (["erased"], ["Observation/erased", "Observation/served"][:most])
        assert step.cursor.known.keys() == {"shown", "served"} and step.changes[-1].cursor == step.cursor
    else:
        assert (told, foreign.asked[1:]) == (["erased", "served"], [])


@pytest.mark.parametrize(
    ("total", "following", "since", "unshown"),
    [
        (3, "", "", 2),
        (3, "", "2026-11-20T12:00:00Z", 2),
        (1, "", "", 0),
        (None, "", "", 0),
        (3, "Observation?2", "", 0),
    ],
)
async def test_how_many_an_answer_without_pages_lacks_is_told(
    total: int | None, following: str, since: str, unshown: int, tmp_path: Path
) -> None:
    """HDDT leaves pages to a recorder, and how many it answers with without. Before: it looked like everything."""
    page, second = bundle(chunk("a"), following=following), bundle(chunk("b"), chunk("c"))
    for one in (page, second):
        one |= {} if total is None else {"total": total}
    recorder = await recorder_of(Foreign({"Observation?2": second, "Observation?": page}), tmp_path)
    assert {step.unshown async for step in recorder.steps(Cursor(since))} == {unshown}


class Paging:
    """A recorder with pages of two, the newest first: a page is a place in what there is when it is asked for."""

    def __init__(self, *names: str) -> None:
        self.content = [chunk(name) for name in names]
        self.ids: Answer = self._read
        self.foreign = Foreign({"Observation?": self._search, "Observation/": lambda request: self.ids(request)})

    def _search(self, request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("at", 0))
        following = f"Observation?at={start + 2}" if start + 2 < len(self.content) else ""
        shown = self.content[start : start + 2]
        return resource(bundle(*shown, following=following, meta={"lastUpdated": "2026-11-20T13:00:00Z"}))

    def _read(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        found = next((one for one in self.content if one["id"] == name), None)
        return outcome("Resource was deleted", 410)(request) if found is None else resource(found)

    async def looked(self, folder: Path, *content: Json) -> tuple[Recorder, list[tuple[Kind, str]], Cursor]:
        """What a look at everything tells when there is only `content` since its first page."""
        recorder = await recorder_of(self.foreign, folder)
        recorder._clock = datetime.fromisoformat("2026-11-21T12:00:00Z").timestamp
        cursor = [step.cursor async for step in recorder.steps()][-1]
        told: list[tuple[Kind, str]] = []
        async for step in recorder.steps(cursor.whole()):
            told += [(change.kind, change.id) for change in step.changes]
            cursor, self.content = step.cursor, list(content)
        return recorder, told, cursor


async def test_what_changes_its_place_between_two_pages_is_not_deleted(tmp_path: Path) -> None:
    """`d` gets a new version, and is on the first page then; so is `c`, since `a` and `b` are deleted. Before: both
    were told as deleted, and the one as new with the next search, the other a day later."""
    paging = Paging("a", "b", "c", "d", "e")
    recorder, told, cursor = await paging.looked(tmp_path, chunk("d", "2026-11-20T13:00:01Z"), chunk("c"), chunk("e"))
    assert told == [] and paging.foreign.asked[-2:] == ["Observation/c", "Observation/d"]
    assert [(one.kind, one.id) async for one in recorder.pull(cursor)] == [(Kind.CHANGED, "d")]
    missing = [(one.kind, one.id) async for one in recorder.pull(cursor.whole())]
    assert [one for one in missing if one[0] is Kind.DELETED] == [(Kind.DELETED, "a"), (Kind.DELETED, "b")]


@pytest.mark.parametrize("silent", [False, True])
async def test_of_many_that_no_page_has_the_rest_is_deleted_unless_nobody_says(
    silent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setattr("ddr.client.recorder.MOST_ASKED", 1)
    paging = Paging("a", "b", "c", "d", "e")
    if silent:
        paging.ids = lambda _: httpx.Response(500)
    _, told, cursor = await paging.looked(tmp_path, *paging.content[:2], *paging.content[4:])
    assert told == ([] if silent else [(Kind.DELETED, "c"), (Kind.DELETED, "d")])
    assert {*paging.foreign.asked[5:]} == {"Observation/c"}
    assert cursor.known.keys() == ({*"abcde"} if silent else {*"abe"})


async def test_one_that_is_never_answered_keeps_no_other_from_being_told(tmp_path: Path, pauses: list[float]) -> None:
    """Before: with each look it was the first to be asked for, and the last; the others stayed known for ever."""
    paging = Paging("a", "b", "c", "d", "e")
    paging.ids = lambda one: httpx.Response(500) if one.url.path.endswith("/c") else paging._read(one)
    recorder, told, cursor = await paging.looked(tmp_path, *paging.content[:2], *paging.content[4:])
    assert told == [] and cursor.known.keys() == {*"abcde"}
    assert [(one.kind, one.id) async for one in recorder.pull(cursor.whole())] == [(Kind.DELETED, "d")]


async def test_of_what_is_not_found_any_more_so_many_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.client.recorder.MOST_ASKED", 2)
    foreign = Foreign({"Observation/": outcome(OUTSIDE, 404), "Observation?": bundle()})
    assert await missing(foreign, tmp_path, ["a", "b", "c"], None) == ["a", "b"]
    assert len(foreign.asked) == 3


@pytest.mark.parametrize("status", [500, 501, 405])
async def test_who_fails_when_asked_for_one_is_pulled_nevertheless(
    status: int, tmp_path: Path, pauses: list[float]
) -> None:
    foreign = Foreign({"Observation/a": lambda _: httpx.Response(status), "Observation?": bundle()})
    assert await missing(foreign, tmp_path, ["a", "b"], None) == []
    assert {*foreign.asked[1:]} == {"Observation/a"}, "nor is another one asked for"


@pytest.mark.parametrize("error", [Refused(401, "login", "historic"), Unanswered(1.0), Throttled(1.0)])
async def test_what_is_about_the_token_tells_nothing_of_an_observation(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again with the next pull, and an unanswered refresh within seconds."""
    recorder = await recorder_of(Foreign({"Observation?": bundle()}), tmp_path)
    get = recorder.get

    async def failing(url: str) -> Json:
        if "Observation/" in url:
            raise error
        return await get(url)

    monkeypatch.setattr(recorder, "get", failing)
    known = Cursor("", {"a": Known("1@", "2020-01-01T00:00:00Z")}).whole()
    with pytest.raises(type(error)):
        [one async for one in recorder.pull(known)]
