"""Pulling by the library: every change once, the same readings as were sent, and the liberties of other recorders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.client import Change, Cursor, Kind, Recorder, Refused, readings
from ddr.client.pull import changes
from ddr.fhir.instants import date_time
from tests.client.conftest import Backend
from tests.spec.world import BG, CGM, HOUR, MINUTE, Home

Json = dict[str, Any]


async def pulled(recorder: Recorder, since: Cursor | None = None) -> tuple[list[Change], Cursor]:
    found = [change async for change in recorder.pull(since)]
    assert [change.cursor is not None for change in found] == [False] * (len(found) - 1) + [True]
    cursor = found[-1].cursor
    assert cursor is not None
    return [change for change in found if change.resource is not None], Cursor.from_json(cursor.to_json())


async def test_changes_come_once_and_readings_are_those_that_were_sent(backend: Backend, home: Home) -> None:
    start = home.ddr.clock() - 4 * HOUR
    await home.device("d", startedAt=date_time(start), serialNumber="SER-1")
    await home.cgm("d", start)
    await home.readings("d", start, [100, "L", "E", 250, 401])
    await home.device("m")
    await home.measure("one", code="2339-0", device="m", effective=home.ago(HOUR), value=99, unit="mg/dL")
    recorder = Recorder(backend.diga, backend.http, backend.tokens, await backend.pair(home.patient, CGM, BG))
    first, cursor = await pulled(recorder)
    assert {change.kind for change in first} == {Kind.NEW}
    related = first[0].related
    found = list(readings([change.resource for change in first if change.resource], related))
    told = [(int(one.time.timestamp() * 1000) - start, one.value, one.sign) for one in found if one.code == "99504-3"]
    assert told == [
        (0, Decimal(100), ""),
        (5 * MINUTE, None, "L"),
        (15 * MINUTE, Decimal(250), ""),
        (20 * MINUTE, None, "U"),
    ]
    (low, high) = [one for one in found if one.sign]
    assert (low.limit, high.limit) == (Decimal(40), Decimal(400))
    assert {(one.serial, one.calibration) for one in found if one.code == "99504-3"} == {("SER-1", "calibrated")}
    assert [one.value for one in found if one.code == "2339-0"] == [Decimal(99)]
    nothing, cursor = await pulled(recorder, cursor)
    assert nothing == []
    await home.readings("d", start + 30 * MINUTE, [120])
    await home.measure("one", code="2339-0", device="m", effective=home.ago(HOUR), value=98, unit="mg/dL")
    second, cursor = await pulled(recorder, cursor)
    assert sorted(change.kind for change in second) == [Kind.AMENDED, Kind.CHANGED]
    again, _ = await pulled(recorder, Cursor("", cursor.versions))
    assert {change.kind for change in again} == {Kind.REPEATED}


# --- other recorders --------------------------------------------------------------------------------------------------


def answering(*bundles: Json) -> Any:
    """A search that is answered by these pages."""

    async def pages(kind: str, parameters: Mapping[str, str]) -> AsyncIterator[Json]:
        for bundle in bundles:
            yield bundle

    return pages


def chunk(name: str, updated: str, **members: Any) -> Json:
    data = {"origin": {"value": 0, "code": "mg/dL"}, "period": 300000.0, "data": "100 101"}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "meta": {"versionId": "1", "lastUpdated": updated},
        "code": {"coding": [{"code": "99504-3"}]},
        "effectivePeriod": {"start": "2026-11-20T08:00:00+01:00"},
        "valueSampledData": data,
        **members,
    }


def bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]}


async def test_without_a_stamp_of_the_bundle_the_newest_resource_is_the_cursor() -> None:
    pages = answering(bundle(chunk("a", "2026-11-20T08:00:00Z")))
    found = [change async for change in changes(pages, Cursor())]
    assert found[-1].cursor is not None and found[-1].cursor.since == "ge2026-11-20T08:00:00Z"
    again = [
        change async for change in changes(answering(bundle(chunk("a", "2026-11-20T08:00:00Z"))), found[-1].cursor)
    ]
    assert [change.kind for change in again] == [Kind.REPEATED]


async def test_a_page_in_between_may_have_no_entries() -> None:
    pages = answering({"resourceType": "Bundle"}, bundle(chunk("a", "2026-11-20T08:00:00Z")))
    assert len([change async for change in changes(pages, Cursor())]) == 1


def test_other_forms_of_chunks() -> None:
    device = {"resourceType": "Device", "id": "1", "serialNumber": "S"}
    absolute = chunk("a", "x", device={"reference": "https://other.example/fhir/Device/1"})
    scaled = chunk(
        "b",
        "x",
        valueSampledData={
            "origin": {"value": 10, "unit": "mg/dL"},
            "factor": 0.5,
            "period": 60000,
            "data": "E 4 U",
            "upperLimit": 400,
        },
        status="preliminary",
    )
    empty = chunk("c", "x", valueSampledData=None, dataAbsentReason={})
    wrong = chunk("d", "x", status="entered-in-error")
    found = list(readings([absolute, scaled, empty, wrong], {"Device/1": device}))
    assert [(one.observation_id, one.value, one.sign, one.final, one.serial) for one in found] == [
        ("a", Decimal(100), "", True, "S"),
        ("b", Decimal(12), "", False, None),
        ("b", None, "U", False, None),
        ("a", Decimal(101), "", True, "S"),
    ]
    assert found[0].time == datetime.fromisoformat("2026-11-20T07:00:00+00:00")


@given(st.lists(st.one_of(st.integers(40, 400), st.sampled_from(["E", "L", "U"])), max_size=300))
def test_samples_are_read_as_they_were_written(values: list[int | str]) -> None:
    data = {"origin": {"value": 0, "code": "mg/dL"}, "period": 300000, "data": " ".join(map(str, values))}
    found = list(readings([chunk("a", "x", valueSampledData=data)], {}))
    told = {
        int((one.time - datetime.fromisoformat("2026-11-20T08:00:00+01:00")).total_seconds()) // 300: one
        for one in found
    }
    assert {at: one.sign or int(one.value or 0) for at, one in told.items()} == {
        at: value for at, value in enumerate(values) if value != "E"
    }


async def test_no_page_leads_to_another_server(backend: Backend, home: Home) -> None:
    recorder = Recorder(backend.diga, backend.http, backend.tokens, await backend.pair(home.patient, CGM))
    with pytest.raises(Refused, match="another server"):
        recorder._ours(f"{backend.diga.fhir_base}/Observation", "https://evil.example/fhir/Observation?_page=1")
