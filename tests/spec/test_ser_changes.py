"""Continuous series over HTTP: changes that become known late, out of order, or together with another device."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ddr.fhir.instants import date_time
from tests.spec.series import PERIOD, SLOTS, Worn, chunks, period, ramp, values, worn
from tests.spec.world import DAY, HOUR, MINUTE, Json, later
from tests.support.recorder import Recorder

EVENTS = ((5 * HOUR, "calibration-required"), (9 * HOUR, "calibrated"), (20 * HOUR, "unspecified"))


async def report(sensor: Worn, *events: tuple[int, str]) -> None:
    """The gateway reports calibration states in one request."""
    items = [{"time": date_time(sensor.start_ms + after_ms), "state": state} for after_ms, state in events]
    path = "devices/cgm/sensors/s/calibrations"
    response = await sensor.home.patient.gateway.post(path, json={"calibrations": items})
    assert response.json()["rejected"] == 0, response.text


async def counting(sensor: Worn) -> list[tuple[int, str]]:
    """Start (relative to the sensor's start) and data of each valid chunk."""
    found = [chunk for chunk in await sensor.chunks() if chunk["status"] != "entered-in-error"]
    return [(period(chunk)[0] - sensor.start_ms, " ".join(values(chunk))) for chunk in found]


@pytest.mark.requirement("SER-008", "SER-009")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_order_in_which_changes_become_known_does_not_matter(ddr: Recorder, order: tuple[int, ...]) -> None:
    sensor = await worn(ddr)
    readings = ramp(SLOTS + 50)
    with later(ddr, DAY + 5 * HOUR):
        for at in order:
            await sensor.send(at * 100, readings[at * 100 : (at + 1) * 100])
            await report(sensor, EVENTS[at])
        await sensor.send(0, readings)
        found = await counting(sensor)
    bounds = [0, *(after_ms // PERIOD for after_ms, _ in EVENTS), len(readings)]
    wanted = [readings[first:last] for first, last in pairwise(bounds)]
    assert [start for start, _ in found] == [0, *(after_ms for after_ms, _ in EVENTS)]
    assert [data.split() for _, data in found] == [[str(value) for value in part] for part in wanted]


@pytest.mark.requirement("SER-024")
@pytest.mark.parametrize("member", ["endedAt", "expirationDate"])
@pytest.mark.parametrize("order", [(4, 20), (20, 4)])
async def test_a_chunk_that_late_readings_move_beyond_the_end_does_not_count(
    ddr: Recorder, order: tuple[int, int], member: str
) -> None:
    sensor = await worn(ddr)
    with later(ddr, 3 * DAY):
        await sensor.home.readings("cgm", sensor.start_ms + order[0] * MINUTE, [100])
        at = {"startedAt": date_time(sensor.start_ms), member: date_time(sensor.start_ms + DAY + MINUTE)}
        await sensor.home.device("cgm", **at)
        await sensor.home.readings("cgm", sensor.start_ms + order[1] * MINUTE, [100])
        assert [start for start, _ in await counting(sensor)] == [4 * MINUTE]
        assert {chunk["status"] for chunk in (await sensor.chunks())[1:]} <= {"entered-in-error"}


@pytest.mark.requirement("SER-006")
async def test_every_chunk_that_was_shown_can_still_be_read(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 3 * DAY):
        await sensor.send(0, ramp(2 * SLOTS + 20))
        before = await sensor.chunks()
    with later(ddr, 3 * DAY + HOUR):
        await report(sensor, *EVENTS)
        for chunk in before:
            after = await sensor.reader.read(f"Observation/{chunk['id']}")
            assert int(after["meta"]["versionId"]) > int(chunk["meta"]["versionId"])
            assert after["meta"]["lastUpdated"] > chunk["meta"]["lastUpdated"]
            assert after["status"] in ("amended", "entered-in-error")


@pytest.mark.requirement("SER-018")
@pytest.mark.parametrize(("option", "status"), [("keep", "active"), ("end", "inactive")])
async def test_the_operator_decides_about_a_replaced_device(ddr: Recorder, option: str, status: str) -> None:
    sensor = await worn(ddr)
    settings = ddr.core.settings
    ddr.core.settings = replace(settings, device_overlap=option)
    try:
        with later(ddr, HOUR):
            await sensor.send(0, ramp(12))
            await sensor.home.device("second", startedAt=sensor.home.ago(0), replaces="cgm")
            (chunk,) = await chunks(sensor.reader)
            metric: Json = await sensor.reader.read(chunk["device"]["reference"])
            assert (await sensor.reader.read(metric["source"]["reference"]))["status"] == status
            assert chunk["status"] == {"active": "preliminary", "inactive": "final"}[status]
    finally:
        ddr.core.settings = settings


@pytest.mark.requirement("SER-006", "SER-008")
async def test_chunks_that_an_old_change_withdrew_stay_visible_in_their_own_time(ddr: Recorder) -> None:
    """A calibration of the first day, reported on the fifth, moves the chunks of four days to another series.

    A month later the first series has long been over, but its withdrawn chunks are still within the period.
    """
    sensor = await worn(ddr)
    with later(ddr, 5 * DAY):
        await sensor.send(0, ramp(5 * SLOTS))
        before = {chunk["id"] for chunk in await sensor.chunks()}
        await report(sensor, (DAY, "calibration-required"))
        withdrawn = [chunk for chunk in await sensor.chunks() if chunk["status"] == "entered-in-error"]
    assert len(withdrawn) == 4
    with later(ddr, 33 * DAY):
        still = [chunk for chunk in await sensor.chunks() if chunk["status"] == "entered-in-error"]
        assert {chunk["id"] for chunk in still} < before
        for chunk in still:
            assert await sensor.reader.read(f"Observation/{chunk['id']}") == chunk
        assert still == [chunk for chunk in withdrawn if period(chunk)[0] >= sensor.start_ms + 3 * DAY]
