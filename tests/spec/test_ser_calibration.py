"""Continuous series over HTTP: the effect of a changed calibration state on chunks (HDDT retrieving-data.md)."""

from __future__ import annotations

from itertools import permutations

import pytest

from ddr.fhir.instants import date_time
from tests.spec.series import PERIOD, SLOTS, Worn, empty, length, period, ramp, values, worn
from tests.spec.world import CGM, DAY, HOUR, MINUTE, Home, Json, entries, later, paired
from tests.support.recorder import Recorder

STATES = ("not-calibrated", "calibration-required", "calibrated", "unspecified")
CHANGE = 10 * HOUR + 17 * MINUTE + 30_000  # after the start; not on the grid
BEFORE = CHANGE // PERIOD + 1  # readings up to then


async def report(sensor: Worn, after_ms: int, state: str) -> None:
    """The gateway reports the calibration state from an instant after the start."""
    body = {"calibrations": [{"time": date_time(sensor.start_ms + after_ms), "state": state}]}
    response = await sensor.home.patient.gateway.post("devices/cgm/sensors/s/calibrations", json=body)
    assert response.json()["accepted"] == 1, response.text


async def metric_of(sensor: Worn, chunk: Json) -> Json:
    """The DeviceMetric that a chunk refers to."""
    return await sensor.reader.read(chunk["device"]["reference"])


@pytest.mark.requirement("SER-003", "SER-007", "SER-008", "SER-009")
@pytest.mark.parametrize(("former", "state"), [*permutations(STATES, 2)])
async def test_a_change_of_state_ends_the_chunk_and_begins_another(ddr: Recorder, former: str, state: str) -> None:
    sensor = await worn(ddr, former)
    with later(ddr, CHANGE):
        await sensor.send(0, ramp(BEFORE))
        (running,) = await sensor.chunks()
        assert (running["status"], length(running)) == ("preliminary", DAY)
        await report(sensor, CHANGE, state)
    with later(ddr, CHANGE + HOUR):
        await sensor.send(BEFORE, ramp(12, 50))
        before, after = await sensor.chunks()
        assert (before["id"], before["status"], values(before)) == (running["id"], "final", values(running))
        assert period(before) == (sensor.start_ms, sensor.start_ms + CHANGE - 1)
        assert (after["status"], length(after)) == ("preliminary", DAY)
        assert period(before)[1] < period(after)[0]
        assert values(after) == [str(value) for value in ramp(12, 50)]
        metrics = [await metric_of(sensor, chunk) for chunk in (before, after)]
        assert metrics[0]["id"] != metrics[1]["id"]
        assert [metric["calibration"][0]["state"] for metric in metrics] == [former, state]
        assert metrics[0]["source"] == metrics[1]["source"]


@pytest.mark.requirement("SER-008", "SER-009")
async def test_a_calibration_and_its_expiry(ddr: Recorder) -> None:
    sensor = await worn(ddr, "calibration-required")
    changes = [(2 * HOUR, "calibrated"), (14 * HOUR, "calibration-required"), (15 * HOUR, "calibrated")]
    with later(ddr, 20 * HOUR):
        await sensor.send(0, ramp(20 * 12))
        for after_ms, state in changes:
            await report(sensor, after_ms, state)
        found = await sensor.chunks()
        states = [(await metric_of(sensor, chunk))["calibration"][0]["state"] for chunk in found]
        assert states == ["calibration-required", "calibrated", "calibration-required", "calibrated"]
        assert [chunk["status"] for chunk in found] == ["final"] * 3 + ["preliminary"]
        assert [length(chunk) for chunk in found] == [2 * HOUR, 12 * HOUR, HOUR, DAY]
        assert [value for chunk in found for value in values(chunk)] == [str(value) for value in ramp(20 * 12)]


@pytest.mark.requirement("SER-008")
async def test_a_change_that_is_reported_late_cuts_what_was_stored(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, DAY + HOUR):
        await sensor.send(0, ramp(SLOTS + 12))
        assert [chunk["status"] for chunk in await sensor.chunks()] == ["final", "preliminary"]
        await report(sensor, CHANGE, "calibration-required")
        found = await sensor.chunks()
        before, after = [chunk for chunk in found if chunk["status"] != "entered-in-error"]
        assert (before["status"], after["status"]) == ("amended", "preliminary")
        assert period(before)[1] == sensor.start_ms + CHANGE - 1 < period(after)[0]
        assert length(after) == DAY
        assert values(before) + values(after) == [str(value) for value in ramp(SLOTS + 12)]
        # A DiGA may know the chunk whose readings are now in another one, so it learns that it is no longer valid.
        (moved,) = [chunk for chunk in found if chunk["status"] == "entered-in-error"]
        assert not [name for name in moved if name.startswith("value")]


@pytest.mark.requirement("SER-003", "SER-008", "SER-014")
async def test_the_new_chunk_is_announced_when_nothing_comes(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, CHANGE):
        await sensor.send(0, ramp(BEFORE))
        await report(sensor, CHANGE, "not-calibrated")
    with later(ddr, CHANGE + HOUR):
        before, after = await sensor.chunks()
        assert (before["status"], empty(before)) == ("final", False)
        assert (empty(after), length(after)) == (True, DAY)


@pytest.mark.requirement("SER-009")
async def test_a_calibration_without_change_of_state_ends_nothing(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, CHANGE):
        await sensor.send(0, ramp(BEFORE))
        (running,) = await sensor.chunks()
        first = await metric_of(sensor, running)
        await report(sensor, CHANGE, "calibrated")
        assert await sensor.chunks() == [running]
        second = await metric_of(sensor, running)
        assert int(second["meta"]["versionId"]) > int(first["meta"]["versionId"])
        assert second["calibration"][0]["time"] == date_time(sensor.start_ms + CHANGE)
        old = await sensor.reader.read(f"DeviceMetric/{first['id']}/_history/{first['meta']['versionId']}")
        assert old["calibration"] == first["calibration"]


@pytest.mark.requirement("CGM-006")
@pytest.mark.parametrize("after_ms", [6 * HOUR, DAY + 6 * HOUR])  # in the chunk before, and in the chunk itself
async def test_a_late_change_is_told_of_a_chunk_that_reached_into_the_history(ddr: Recorder, after_ms: int) -> None:
    history_ms = ddr.core.catalog.terms[ddr.core.catalog.by_name(CGM).valueset].historic_days * DAY  # type: ignore[union-attr]
    start_ms = ddr.clock() - history_ms - 36 * HOUR
    home = Home(ddr, await ddr.patient())
    await home.device("cgm", startedAt=date_time(start_ms))
    await home.cgm("cgm", start_ms)
    await home.readings("cgm", start_ms, ramp(2 * SLOTS))
    sensor = Worn(home, await paired(ddr, home.patient, CGM), start_ms)
    before = await sensor.reader.search("Observation?_sort=date&_count=1")
    (known,) = entries(before)
    assert period(known) == (start_ms + DAY, start_ms + 2 * DAY - 1)
    await report(sensor, after_ms, "calibration-required")
    changed = await sensor.chunks(f"_lastUpdated=gt{before['meta']['lastUpdated']}")
    (now,) = [chunk for chunk in changed if chunk["id"] == known["id"]]
    assert now["status"] == "entered-in-error" and "valueSampledData" not in now
    assert [coding["code"] for coding in now["dataAbsentReason"]["coding"]] == ["error"]
    assert await sensor.reader.read(f"Observation/{known['id']}") == now
    assert now in await sensor.chunks()
    with later(ddr, 12 * HOUR + MINUTE):  # it would also have left the history
        assert known["id"] not in [chunk["id"] for chunk in await sensor.chunks()]
        assert (await sensor.reader.get(f"Observation/{known['id']}")).status_code == 404


@pytest.mark.requirement("CGM-006")
async def test_a_late_end_of_a_sensor_makes_no_value_an_error(ddr: Recorder) -> None:
    """None has moved: the chunk that reached into the history has left it, and what a DiGA has of it stays right."""
    history_ms = ddr.core.catalog.terms[ddr.core.catalog.by_name(CGM).valueset].historic_days * DAY  # type: ignore[union-attr]
    start_ms = ddr.clock() - history_ms - 36 * HOUR
    home = Home(ddr, await ddr.patient())
    await home.device("cgm", startedAt=date_time(start_ms))
    await home.cgm("cgm", start_ms)
    sent = ramp(SLOTS + SLOTS // 4)
    await home.readings("cgm", start_ms, sent)
    sensor = Worn(home, await paired(ddr, home.patient, CGM), start_ms)
    before = await sensor.reader.search("Observation?_sort=date&_count=1")
    (known,) = entries(before)
    assert period(known)[0] == start_ms + DAY and values(known)[: SLOTS // 4] == [*map(str, sent[SLOTS:])]
    await home.device("cgm", startedAt=date_time(start_ms), endedAt=date_time(start_ms + DAY + 6 * HOUR))
    changed = await sensor.chunks(f"_lastUpdated=gt{before['meta']['lastUpdated']}")
    assert known["id"] not in [chunk["id"] for chunk in changed]
    gone = await sensor.reader.get(f"Observation/{known['id']}")
    assert gone.status_code == 404 and "istoric" in gone.text


@pytest.mark.parametrize("what", ["calibration", "start"])
async def test_values_are_nowhere_twice_when_their_series_began_before_the_history(ddr: Recorder, what: str) -> None:
    history_ms = ddr.core.catalog.terms[ddr.core.catalog.by_name(CGM).valueset].historic_days * DAY  # type: ignore[union-attr]
    long_ago, began = ddr.clock() - history_ms - 5 * DAY, ddr.clock() - 3 * DAY
    home = Home(ddr, await ddr.patient())
    await home.device("cgm", startedAt=date_time(long_ago))
    await home.cgm("cgm", began if what == "start" else long_ago, "not-calibrated")
    sensor = Worn(home, await paired(ddr, home.patient, CGM), long_ago)
    if what == "calibration":
        await report(sensor, began - long_ago, "calibrated")
    await home.readings("cgm", began, ramp(2 * SLOTS))
    first = await sensor.reader.search("Observation")
    if what == "calibration":
        await report(sensor, HOUR, "calibrated")  # reported late: it was calibrated all the time
    else:
        await home.cgm(
            "cgm", long_ago, "not-calibrated", calibration={"state": "not-calibrated", "time": date_time(began)}
        )
    known = {chunk["id"]: chunk for chunk in entries(first)}
    known |= {one["id"]: one for one in await sensor.chunks(f"_lastUpdated=gt{first['meta']['lastUpdated']}")}
    held = [chunk for chunk in known.values() if "valueSampledData" in chunk]
    found = [value for chunk in sorted(held, key=period) for value in values(chunk) if value != "E"]
    assert found == [str(value) for value in ramp(2 * SLOTS)]
    assert {chunk["id"] for chunk in await sensor.chunks()} == known.keys()
    assert len({(await metric_of(sensor, chunk))["id"] for chunk in held}) == 1


async def test_ids_stay_when_a_start_moves_back_and_takes_no_chunk_out_of_the_history(ddr: Recorder) -> None:
    history_ms = ddr.core.catalog.terms[ddr.core.catalog.by_name(CGM).valueset].historic_days * DAY  # type: ignore[union-attr]
    began = ddr.clock() - history_ms - 5 * DAY - 6 * HOUR
    home = Home(ddr, await ddr.patient())
    await home.device("cgm", startedAt=date_time(began - DAY))
    await home.cgm("cgm", began)
    await home.readings("cgm", began + 5 * DAY, ramp(3 * SLOTS))
    sensor = Worn(home, await paired(ddr, home.patient, CGM), began)
    known = [chunk for chunk in await sensor.chunks() if "valueSampledData" in chunk]
    assert [period(chunk)[0] - began for chunk in known] == [5 * DAY, 6 * DAY, 7 * DAY]
    calibration = {"state": "calibrated", "time": date_time(began)}
    for back_ms in (1000, 0, 1000):  # an app that computes the start from the age of its sensor
        await home.cgm("cgm", began - back_ms, calibration=calibration)
        assert [chunk for chunk in await sensor.chunks() if "valueSampledData" in chunk] == known
    await home.cgm("cgm", began - HOUR, calibration=calibration)
    now = [chunk for chunk in await sensor.chunks() if "valueSampledData" in chunk]
    assert [chunk["id"] for chunk in now[:3]] == [chunk["id"] for chunk in known]
    found = [value for chunk in now for value in values(chunk) if value != "E"]
    assert found == [str(value) for value in ramp(3 * SLOTS)]
