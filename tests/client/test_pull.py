"""Pulling with the library: every change once, the readings as sent, deletions, and where it continues."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ddr.client import Change, Cursor, Kind, Recorder, Series, Step, readings
from ddr.client.instants import instant
from ddr.client.pull import step
from ddr.fhir.instants import date_time
from tests.client.conftest import Backend
from tests.spec.world import BG, BP, CGM, HOUR, MINUTE, Home, later


async def pulled(recorder: Recorder, since: Cursor | None = None) -> tuple[list[Change], Cursor]:
    """All changes, and the cursor after them, as it comes back from where it was kept."""
    found: list[Step] = [step async for step in recorder.steps(since)]
    assert [step.more for step in found] == [True] * (len(found) - 1) + [False]
    changes = [change for step in found for change in step.changes]
    return changes, Cursor.from_json(json.loads(json.dumps(found[-1].cursor.to_json())))


async def paired(backend: Backend, home: Home, *mivs: str) -> Recorder:
    return recorder_of(backend, home, await backend.pair(home.patient, *mivs))


def recorder_of(backend: Backend, home: Home, pairing_id: str) -> Recorder:
    history, clock = timedelta(days=30), home.ddr.clock
    return Recorder(
        backend.diga, backend.http, backend.tokens, pairing_id, history=history, clock=lambda: clock() / 1000
    )


async def test_changes_come_once_and_readings_are_those_that_were_sent(backend: Backend, home: Home) -> None:
    start = home.ddr.clock() - 4 * HOUR
    await home.device("d", startedAt=date_time(start), serialNumber="SER-1")
    await home.cgm("d", start)
    await home.readings("d", start, [100, "L", "E", 250, 401])
    await home.device("m")
    await home.measure("one", code="2339-0", device="m", effective=home.ago(HOUR), value=99, unit="mg/dL")
    recorder = await paired(backend, home, CGM, BG)
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
    series = Series([*first, *second])
    assert [one.value for one in series.readings(codes=["2339-0"])] == [Decimal(98)]
    assert len(series.readings(codes=["99504-3"])) == 5
    again, _ = await pulled(recorder, Cursor("", cursor.known))
    assert again == [], "versions that are known are no news"


async def test_components_are_readings_too(backend: Backend, home: Home) -> None:
    await home.device("cuff")
    await home.pressure("p", home.ddr.clock() - HOUR, 124, 82)
    changes, _ = await pulled(await paired(backend, home, BP))
    assert {(one.code, one.value, one.unit) for one in Series(changes).readings()} == {
        ("8480-6", Decimal(124), "mm[Hg]"),
        ("8462-4", Decimal(82), "mm[Hg]"),
    }


async def test_what_was_deleted_is_found_by_looking_at_everything(backend: Backend, home: Home) -> None:
    await home.device("meter")
    now = home.ddr.clock()
    for key, hours in (("a", 1), ("b", 2), ("old", 30 * 24 - 1)):
        await home.glucose(key, now - hours * HOUR)
    recorder = await paired(backend, home, BG)
    first, cursor = await pulled(recorder)
    assert {change.id for change in first} == {home.ids[key] for key in ("a", "b", "old")}
    await home.erase("a")
    nothing, cursor = await pulled(recorder, cursor)
    assert nothing == [], "a search tells what is there"
    deleted, cursor = await pulled(recorder, cursor.whole())
    assert [(change.kind, change.id) for change in deleted] == [(Kind.DELETED, home.ids["a"])]
    with later(home.ddr, 2 * HOUR):
        gone, cursor = await pulled(recorder, cursor)
    assert [(change.kind, change.id) for change in gone] == [(Kind.GONE, home.ids["old"])]
    assert cursor.known.keys() == {home.ids["b"]}
    series = Series([*first, *deleted, *gone])
    assert series.observations.keys() == {home.ids["b"], home.ids["old"]}, "what one has read may be kept"


async def test_what_has_grown_too_old_is_told_without_knowing_the_history(backend: Backend, home: Home) -> None:
    """Before: as deleted, so that a DiGA dropped what it may keep."""
    await home.device("meter")
    now = home.ddr.clock()
    for key, hours in (("erased", 20 * 24), ("young", 2), ("old", 30 * 24 - 1)):
        await home.glucose(key, now - hours * HOUR)
    recorder = await paired(backend, home, BG)
    recorder._history = None
    _, cursor = await pulled(recorder)
    await home.erase("erased")
    with later(home.ddr, 2 * HOUR):
        missing, cursor = await pulled(recorder, cursor.whole())
    told = {change.id: change.kind for change in missing}
    assert told == {home.ids["erased"]: Kind.DELETED, home.ids["old"]: Kind.GONE}
    assert cursor.known.keys() == {home.ids["young"]}


def test_a_look_at_everything_tells_what_is_new_but_for_what_is_older_than_the_history() -> None:
    """What it left out it would leave out for ever: the next search begins after it."""
    floor = "2026-11-01T00:00:00Z"
    ends = {"older": "2026-10-31T23:59:59Z", "at the floor": floor, "newer": "2026-11-20T00:00:00Z"}
    entries: list[dict[str, Any]] = [
        {"resource": {"resourceType": "Observation", "id": name, "effectiveDateTime": end, "meta": {"versionId": "1"}}}
        for name, end in ends.items()
    ]
    bundle = {"resourceType": "Bundle", "meta": {"lastUpdated": "2026-11-22T00:00:00Z"}, "entry": entries}
    found = step(Cursor("2026-11-21T00:00:00Z").whole(), bundle, {}, "", instant(floor))
    assert [(change.kind, change.id) for change in found.changes] == [
        (Kind.NEW, "at the floor"),
        (Kind.NEW, "newer"),
    ]
    assert list(found.cursor.known) == ["at the floor", "newer"]
