"""Overlapping devices over HTTP: the old one ends once the new one is calibrated (HDDT retrieving-data.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import pytest

from ddr.fhir.instants import date_time, parse_instant
from tests.gateway.phd import CGM, METRIC, bundle, cgm, coded, metric, series
from tests.spec.series import PERIOD, Worn, chunks, period, ramp, values, worn
from tests.spec.summary import report, value
from tests.spec.world import CGM as CGM_MIV
from tests.spec.world import HOUR, Home, Json, later, paired
from tests.support.recorder import Recorder

SENSOR_TYPE = "700585005"
NEW, CALIBRATED = HOUR, 3 * HOUR  # after the start of the old sensor


@pytest.fixture(autouse=True)
def end_when_calibrated(ddr: Recorder) -> Iterator[None]:
    """The operator has chosen the third option for this type of device."""
    settings = ddr.core.settings
    ddr.core.settings = replace(settings, device_overlap_types=f"{SENSOR_TYPE}=end-when-calibrated")
    yield
    ddr.core.settings = settings


async def put_on_another(sensor: Worn, state: str | None = "not-calibrated") -> None:
    """The patient wears a second sensor, too, an hour after the first one."""
    home, new_ms = sensor.home, sensor.start_ms + NEW
    await home.device("new", startedAt=date_time(new_ms), replaces="cgm", type=SENSOR_TYPE)
    await home.cgm("new", new_ms, state)


async def calibrate(sensor: Worn, *events: tuple[int, str]) -> None:
    """Calibrations of the new sensor, at times after the start of the old one."""
    items = [{"time": date_time(sensor.start_ms + after_ms), "state": state} for after_ms, state in events]
    path = "devices/new/sensors/s/calibrations"
    answer = await sensor.home.patient.gateway.post(path, json={"calibrations": items})
    assert answer.json()["accepted"] == len(items), answer.text


async def old_status(sensor: Worn) -> str:
    """Device.status of the replaced device."""
    device: Json = await sensor.reader.read(f"Device/{sensor.home.ids['cgm']}")
    return str(device["status"])


@pytest.mark.requirement("SER-018")
async def test_until_the_new_device_is_calibrated_only_the_old_one_is_shown(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    home, reader = sensor.home, sensor.reader
    with later(ddr, CALIBRATED + HOUR):
        await sensor.send(0, ramp(24))
        await put_on_another(sensor)
        await home.readings("new", sensor.start_ms + NEW, ramp(36, 50))
        (old,) = await sensor.chunks()
        assert (len(values(old)), old["status"], await old_status(sensor)) == (24, "preliminary", "active")
        assert await reader.ids("Device?") == [home.ids["cgm"]]
        assert (await reader.get(f"Device/{home.ids['new']}")).status_code == 404
        # calibrated at an instant between two readings
        await calibrate(sensor, (CALIBRATED, "calibrated"))
        old, new = await sensor.chunks()
        assert (old["status"], await old_status(sensor)) == ("final", "inactive")
        assert period(old)[1] == sensor.start_ms + CALIBRATED - 1
        assert period(new)[0] == sensor.start_ms + CALIBRATED
        assert values(new) == [str(value) for value in ramp(36, 50)[24:]]
        assert (await reader.read(new["device"]["reference"]))["calibration"][0]["state"] == "calibrated"


@pytest.mark.requirement("SER-018")
async def test_what_is_withheld_does_not_count_in_a_summary(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    ddr.core.settings = replace(ddr.core.settings, summary_uncalibrated=True)
    with later(ddr, 4 * HOUR):
        await sensor.send(0, [100] * 24)
        await put_on_another(sensor)
        await sensor.home.readings("new", sensor.start_ms + NEW, [400] * 36)
        day = {"effectivePeriodStart": date_time(sensor.start_ms), "effectivePeriodEnd": date_time(ddr.clock())}
        assert value(await report(sensor.reader, **day), "97507-8") == 100
        await calibrate(sensor, (CALIBRATED, "calibrated"))
        assert value(await report(sensor.reader, **day), "97507-8") == (24 * 100 + 12 * 400) / 36


@pytest.mark.requirement("SER-018")
async def test_a_calibration_that_becomes_known_late_shows_what_it_covers_as_new(ddr: Recorder) -> None:
    sensor, events = await worn(ddr), [(3 * HOUR, "calibration-required"), (4 * HOUR, "calibrated")]
    with later(ddr, 6 * HOUR):
        await put_on_another(sensor)
        await sensor.home.readings("new", sensor.start_ms + NEW, ramp(48, 50))
        await calibrate(sensor, *events)
        assert period((await sensor.chunks())[-1])[0] == sensor.start_ms + 4 * HOUR
    with later(ddr, 7 * HOUR):
        await calibrate(sensor, (2 * HOUR, "calibrated"))
        found = await sensor.chunks(f"_lastUpdated=ge{date_time(ddr.clock())}")
        replaced, *covered = found
        assert [period(chunk)[0] - sensor.start_ms for chunk in covered] == [2 * HOUR, 3 * HOUR]
        # the end of the replaced device moves along, so that nothing overlaps that did not overlap before
        assert (replaced["status"], period(replaced)[1] + 1 - sensor.start_ms) == ("amended", 2 * HOUR)
        for chunk in covered:
            metric = await sensor.reader.read(chunk["device"]["reference"])
            assert parse_instant(metric["meta"]["lastUpdated"]) >= ddr.clock()


@pytest.mark.requirement("SER-018")
@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_what_is_shown_depends_on_no_order(ddr: Recorder, order: tuple[int, ...]) -> None:
    sensor = await worn(ddr)
    events = [(2 * HOUR, "calibrated"), (3 * HOUR, "calibration-required"), (4 * HOUR, "calibrated")]
    readings = ramp(48, 50)
    with later(ddr, 6 * HOUR):
        await put_on_another(sensor)
        for at in order:
            await sensor.home.readings(
                "new", sensor.start_ms + NEW + at * 16 * PERIOD, readings[at * 16 : at * 16 + 16]
            )
            await calibrate(sensor, events[at])
        found = [chunk for chunk in await sensor.chunks() if chunk["status"] != "entered-in-error"][1:]
        assert [period(chunk)[0] - sensor.start_ms for chunk in found] == [after_ms for after_ms, _ in events]
        assert [values(chunk)[:12] for chunk in found] == [
            [str(value) for value in readings[first : first + 12]] for first in (12, 24, 36)
        ]


@pytest.mark.requirement("SER-018")
@pytest.mark.parametrize("state", ["calibrated", None])
async def test_a_device_that_needs_no_calibration_takes_over_at_once(ddr: Recorder, state: str | None) -> None:
    sensor = await worn(ddr)
    with later(ddr, 2 * HOUR):
        await sensor.send(0, ramp(18))
        await put_on_another(sensor, state)
        await sensor.home.readings("new", sensor.start_ms + NEW, ramp(6))
        assert await old_status(sensor) == "inactive"
        old, new = await sensor.chunks()
        assert len(values(old)) == 18  # not before its last stored reading: no data is lost
        assert period(old)[1] < sensor.start_ms + 18 * PERIOD
        assert values(new) == [str(value) for value in ramp(6)]


@pytest.mark.requirement("SER-018")
async def test_without_an_overlap_nothing_is_withheld(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 2 * HOUR):
        start, end = date_time(sensor.start_ms), date_time(sensor.start_ms + NEW)
        await sensor.home.device("cgm", startedAt=start, endedAt=end)
        await put_on_another(sensor)
        await sensor.home.readings("new", sensor.start_ms + NEW, ramp(6))
        assert values((await sensor.chunks())[-1]) == [str(value) for value in ramp(6)]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("known", [False, True])
async def test_what_fails_before_it_is_calibrated_hands_on_whose_place_it_takes(
    ddr: Recorder, ended: bool, again: bool, known: bool
) -> None:
    """Another sensor takes its place, or its app registers it `again`; before, the old one stayed active for ever."""
    sensor = await worn(ddr)
    home, failed_ms = sensor.home, sensor.start_ms + 2 * HOUR
    with later(ddr, 6 * HOUR):
        await sensor.send(0, ramp(24))
        began = {"startedAt": date_time(sensor.start_ms + NEW), "replaces": "cgm", "type": SENSOR_TYPE}
        await home.device("new", **began)
        if known:
            await put_on_another(sensor)
            await home.readings("new", sensor.start_ms + NEW, ramp(6))
        if ended:
            await home.device("new", **began, endedAt=date_time(failed_ms))
        serial = {"serialNumber": "SN-new"} if again else {}
        await home.device("third", startedAt=date_time(failed_ms), replaces="new", type=SENSOR_TYPE, **serial)
        await home.cgm("third", failed_ms, "not-calibrated")
        await home.readings("third", failed_ms, ramp(48, 50))
        assert await old_status(sensor) == "active"
        assert await sensor.reader.ids("Device?") == [home.ids["cgm"]]
        assert len(await sensor.chunks()) == 1
        events = [{"time": date_time(sensor.start_ms + CALIBRATED), "state": "calibrated"}]
        answer = await home.patient.gateway.post("devices/third/sensors/s/calibrations", json={"calibrations": events})
        assert answer.json()["accepted"] == 1
        assert await old_status(sensor) == "inactive"
        old, third = await sensor.chunks()
        assert period(old)[1] + 1 == period(third)[0] == sensor.start_ms + CALIBRATED
        assert (await sensor.reader.get(f"Device/{home.ids['new']}")).status_code == 404


@pytest.mark.parametrize("late", [False, True])
async def test_what_replaces_another_device_is_said_after_its_sensor_was_registered(ddr: Recorder, late: bool) -> None:
    """Before or after the calibration. What a DiGA saw before stays shown."""
    sensor = await worn(ddr)
    start = date_time(sensor.start_ms + NEW)
    with later(ddr, 6 * HOUR):
        await sensor.send(0, ramp(24))
        await sensor.home.device("new", startedAt=start, type=SENSOR_TYPE)
        await sensor.home.cgm("new", sensor.start_ms + NEW, "not-calibrated")
        if late:
            await calibrate(sensor, (CALIBRATED, "calibrated"))
        await sensor.home.device("new", startedAt=start, type=SENSOR_TYPE, replaces="cgm")
        assert await old_status(sensor) == ("inactive" if late else "active")
        if not late:
            await calibrate(sensor, (CALIBRATED, "calibrated"))
        assert await old_status(sensor) == "inactive"
        assert period((await sensor.chunks())[0])[1] == sensor.start_ms + CALIBRATED - 1


@pytest.mark.parametrize("state", ["calibrated", None])
async def test_a_start_that_moves_back_hides_nothing(ddr: Recorder, state: str | None) -> None:
    """A sensor that is shown from its start is shown from an earlier one, too, and the replaced device ends there."""
    sensor = await worn(ddr)
    with later(ddr, 2 * HOUR):
        await put_on_another(sensor, state)
        await sensor.home.readings("new", sensor.start_ms + NEW, ramp(6))
        earlier_ms = sensor.start_ms + NEW // 2
        start = date_time(earlier_ms)
        await sensor.home.device("new", startedAt=start, replaces="cgm", type=SENSOR_TYPE)
        calibration = None if state is None else {"state": state, "time": date_time(sensor.start_ms + NEW)}
        await sensor.home.cgm("new", earlier_ms, None, **({"calibration": calibration} if calibration else {}))
        await sensor.home.readings("new", earlier_ms, ramp(6, 50))
        old, new = await sensor.chunks()
        assert period(old)[1] + 1 == period(new)[0] == earlier_ms
        assert values(new) == [str(value) for value in [*ramp(6, 50), *ramp(6)]]
        assert await sensor.reader.ids("Device?_id=" + sensor.home.ids["new"]) == [sensor.home.ids["new"]]


@pytest.mark.requirement("SER-018")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_warm_up_that_a_bundle_brings_late_ends_nothing_and_stays_withheld(
    ddr: Recorder, order: tuple[int, int]
) -> None:
    """At the FHIR door a sensor begins with its first value, which here comes after its calibration."""
    sensor = await worn(ddr)
    gateway, new_ms = sensor.home.patient.gateway, sensor.start_ms + NEW
    states = [
        {"state": "not-calibrated", "time": date_time(new_ms)},
        {"state": "calibrated", "time": date_time(sensor.start_ms + CALIBRATED)},
    ]
    device = cgm(type=coded(SENSOR_TYPE, "http://snomed.info/sct"))
    with later(ddr, 6 * HOUR):
        await sensor.send(0, ramp(6))
        await gateway.post("fhir", json=bundle(device))
        (key,) = {one["key"] for one in (await gateway.get("devices")).json()["devices"]} - {"cgm"}
        told = {"serialNumber": "CGM1234567890", "manufacturer": "Glukko Inc.", "name": "new", "type": SENSOR_TYPE}
        assert (await gateway.put(f"devices/{key}", json=told | {"replaces": "cgm"})).status_code == 200
        for part in order:
            data = " ".join(map(str, ramp(30, 50)[part * 24 :][:24]))
            start = {"effectivePeriod": {"start": date_time(new_ms + part * 24 * PERIOD)}}
            sent = bundle((CGM, device), (METRIC, metric(calibration=states)), series(data) | start)
            assert (await gateway.post("fhir", json=sent)).json()["entry"][2]["response"]["status"] == "201"
        old, new = await sensor.chunks()
        assert period(old)[1] + 1 == period(new)[0] == sensor.start_ms + CALIBRATED
        assert values(new) == [str(value) for value in ramp(30, 50)[24:]]


async def test_a_chunk_keeps_its_id_when_warm_up_comes_before_it(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    reader, start_ms = await paired(ddr, home.patient, CGM_MIV), ddr.clock()
    states = [
        {"state": "not-calibrated", "time": date_time(start_ms)},
        {"state": "calibrated", "time": date_time(start_ms + HOUR)},
    ]
    known = []
    with later(ddr, 6 * HOUR):
        for first_ms in (start_ms + 2 * HOUR, start_ms):
            start = {"effectivePeriod": {"start": date_time(first_ms)}}
            sent = bundle((CGM, cgm()), (METRIC, metric(calibration=states)), series("100 101") | start)
            await home.patient.gateway.post("fhir", json=sent)
            known.append({chunk["id"]: period(chunk)[0] >= start_ms + HOUR for chunk in await chunks(reader)})
    assert known[0].items() < known[1].items()
