"""A correction of a device's expiration date leaves what a DiGA has seen as it was (FHIR R4 Meta)."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.fhir.instants import date_time, instant
from tests.spec.series import SLOTS, Worn, ramp, values, worn
from tests.spec.world import DAY, HOUR, Json, later
from tests.support.recorder import Recorder


async def expire(sensor: Worn, at_ms: int | None) -> None:
    """The gateway corrects when the sensor expires."""
    members: dict[str, Any] = {} if at_ms is None else {"expirationDate": date_time(at_ms)}
    await sensor.home.device("cgm", startedAt=date_time(sensor.start_ms), **members)


def state(chunk: Json) -> tuple[str, str]:
    """Status and version."""
    return chunk["status"], chunk["meta"]["versionId"]


@pytest.mark.requirement("SER-006", "SER-017", "RS-041", "CGM-010")
async def test_a_corrected_expiry_makes_new_versions_that_a_poll_finds(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 6 * HOUR):
        await sensor.send(0, ramp(60))
        assert [state(chunk) for chunk in await sensor.chunks()] == [("preliminary", "2")]
        polled = instant(ddr.clock())
    with later(ddr, 6 * HOUR + 60_000):
        await expire(sensor, sensor.start_ms + 5 * HOUR)
        (final,) = await sensor.chunks(f"_lastUpdated=gt{polled}")
        assert (state(final), len(values(final))) == (("final", "3"), SLOTS)
    with later(ddr, 6 * HOUR + 120_000):
        await expire(sensor, sensor.start_ms + 5 * DAY)
        assert await sensor.chunks() == [final]
        await sensor.send(65, [123])
        (amended,) = await sensor.chunks()
        assert (state(amended), values(amended)[65]) == (("amended", "4"), "123")


@pytest.mark.requirement("SER-006", "SER-014", "RS-041")
async def test_a_placeholder_that_was_shown_is_withdrawn_under_its_id(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, DAY + HOUR):
        await sensor.send(0, ramp(SLOTS))
        _, empty = await sensor.chunks()
        polled = instant(ddr.clock())
    with later(ddr, DAY + 2 * HOUR):
        await expire(sensor, sensor.start_ms + DAY - HOUR)
        gone = await sensor.reader.read(f"Observation/{empty['id']}")
        assert state(gone) == ("entered-in-error", "2")
        assert [chunk["id"] for chunk in await sensor.chunks(f"_lastUpdated=gt{polled}")] == [empty["id"]]
    with later(ddr, DAY + 3 * HOUR):
        await expire(sensor, None)
        back = await sensor.reader.read(f"Observation/{empty['id']}")
        assert state(back) == ("amended", "3")


@pytest.mark.requirement("SER-006", "SER-017")
async def test_an_upload_by_a_worker_that_remembers_the_old_expiry_amends(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 6 * HOUR):
        await sensor.send(0, ramp(60))
        remembered = dict(ddr.core.sensors._known)
        await expire(sensor, sensor.start_ms + 7 * HOUR)
    with later(ddr, 8 * HOUR):
        (final,) = await sensor.chunks()
        assert state(final) == ("final", "3")
        ddr.core.sensors._known.update(remembered)
        await sensor.send(60, [111])
        (amended,) = await sensor.chunks()
        assert state(amended) == ("amended", "4")


async def test_a_chunk_that_is_final_by_its_expiry_is_not_changed_by_word_that_all_was_sent(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 6 * HOUR):
        await sensor.send(0, ramp(60))
        await expire(sensor, sensor.start_ms + 7 * HOUR)
    with later(ddr, DAY + HOUR):
        (final,) = await sensor.chunks()
        assert state(final) == ("final", "3")
        path, until = "devices/cgm/sensors/s/complete", date_time(sensor.start_ms + DAY)
        assert (await sensor.home.patient.gateway.post(path, json={"until": until})).status_code == 200
        assert await sensor.chunks() == [final]


@pytest.mark.requirement("SER-006", "SER-017")
async def test_what_is_withdrawn_stays_so_when_the_end_takes_the_place_of_the_expiry(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, DAY + HOUR):
        await sensor.send(0, ramp(SLOTS))
        _, empty = await sensor.chunks()
        await expire(sensor, sensor.start_ms + DAY - HOUR)
        gone = await sensor.reader.read(f"Observation/{empty['id']}")
    with later(ddr, DAY + 2 * HOUR):
        await sensor.home.device("cgm", startedAt=date_time(sensor.start_ms), endedAt=date_time(sensor.start_ms + DAY))
        assert await sensor.reader.read(f"Observation/{empty['id']}") == gone


@pytest.mark.requirement("SER-024")
async def test_nothing_is_missing_after_a_device_that_expires_as_a_chunk_ends(ddr: Recorder) -> None:
    """HDDT's own example expires 14 days after its start: for one second, a whole further day was expected."""
    sensor = await worn(ddr)
    with later(ddr, HOUR):
        await expire(sensor, sensor.start_ms + DAY)
        await sensor.send(0, ramp(3))
    with later(ddr, DAY - 1000):
        (running,) = await sensor.chunks()
        assert running["status"] == "preliminary"
    with later(ddr, DAY + 1000):
        (final,) = await sensor.chunks()
        assert (final["id"], final["status"]) == (running["id"], "final")
    with later(ddr, 3 * DAY):
        assert await sensor.chunks() == [final]
