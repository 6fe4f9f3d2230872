"""Continuous series over HTTP: the effect of a device's end and replacement on chunks (HDDT retrieving-data.md)."""

from __future__ import annotations

import pytest

from ddr.fhir.instants import date_time
from tests.spec.series import PERIOD, SLOTS, Worn, chunks, empty, length, period, ramp, values, worn
from tests.spec.world import CGM, DAY, HOUR, Home, Json, Reader, later, paired
from tests.support.recorder import Recorder

CHANGE = 10 * HOUR + 17 * 60_000 + 30_000  # after the start; not on the grid
SLOTS_BEFORE = CHANGE // PERIOD + 1


async def end(sensor: Worn, at_ms: int) -> None:
    """The gateway reports that the sensor was taken off."""
    await sensor.home.device("cgm", startedAt=date_time(sensor.start_ms), endedAt=date_time(at_ms))


async def device_of(reader: Reader, chunk: Json) -> Json:
    """The Device behind the DeviceMetric that a chunk refers to."""
    metric = await reader.read(chunk["device"]["reference"])
    return await reader.read(metric["source"]["reference"])


@pytest.mark.requirement("SER-003", "SER-007", "SER-017")
async def test_the_end_of_the_device_ends_the_running_chunk(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    end_ms = sensor.start_ms + DAY + CHANGE
    with later(ddr, DAY + CHANGE):
        await sensor.send(0, ramp(SLOTS + SLOTS_BEFORE))
        full, running = await sensor.chunks()
        assert (running["status"], length(running)) == ("preliminary", DAY)
        assert (await device_of(sensor.reader, running))["status"] == "active"
        await end(sensor, end_ms)
        assert (await sensor.chunks())[0] == full
        ended = await sensor.reader.read(f"Observation/{running['id']}")
        assert ended["status"] == "final"
        assert period(ended) == (period(running)[0], end_ms - 1)
        assert values(ended) == values(running)
        assert (await device_of(sensor.reader, ended))["status"] == "inactive"


@pytest.mark.requirement("SER-017")
async def test_what_is_missing_at_the_end_is_final_too(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, CHANGE):
        await sensor.send(0, ramp(3))
        await end(sensor, sensor.start_ms + CHANGE)
        (chunk,) = await sensor.chunks()
        assert (chunk["status"], values(chunk)) == ("final", ["100", "101", "102", *["E"] * (SLOTS_BEFORE - 3)])


@pytest.mark.requirement("SER-003", "SER-011", "SER-012")
async def test_another_sensor_is_another_device_and_needs_no_pairing(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    home, reader, change_ms = sensor.home, sensor.reader, sensor.start_ms + CHANGE
    pairing, old = reader.tokens.pairing_id, {"serialNumber": "OLD", "name": "GlucoSense rt"}
    await home.device("second", **{**old, "serialNumber": "NEW"}, startedAt=date_time(sensor.start_ms))
    with later(ddr, CHANGE + HOUR):
        await sensor.send(0, ramp(SLOTS_BEFORE))
        await end(sensor, change_ms)
        await home.cgm("second", change_ms)
        await home.readings("second", change_ms, ramp(12, 50))
        before, after = await sensor.chunks()
        assert (before["status"], period(before)[1]) == ("final", change_ms - 1)
        assert (after["status"], period(after)[0], length(after)) == ("preliminary", change_ms, DAY)
        assert values(after) == [str(value) for value in ramp(12, 50)]
        devices = [await device_of(reader, chunk) for chunk in (before, after)]
        assert [device["id"] for device in devices] == [home.ids["cgm"], home.ids["second"]]
        assert [device["status"] for device in devices] == ["inactive", "active"]
        assert [device["serialNumber"] for device in devices] == ["SN-cgm", "NEW"]
        assert before["device"] != after["device"]
        assert reader.tokens.pairing_id == pairing


@pytest.mark.requirement("SER-012")
async def test_the_tokens_of_before_go_on_when_a_device_replaces_another(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    home, reader, change_ms = sensor.home, sensor.reader, sensor.start_ms + CHANGE
    with later(ddr, CHANGE + HOUR):
        await sensor.send(0, ramp(SLOTS_BEFORE))
        assert len(await sensor.chunks()) == 1
        access, pairing = reader.tokens.access_token, reader.tokens.pairing_id
        await home.device("second", startedAt=date_time(change_ms), replaces="cgm")
        await home.cgm("second", change_ms)
        await home.readings("second", change_ms, ramp(12, 50))
        assert (await sensor.chunks())[-1]["valueSampledData"]["data"].startswith("50 51")
        assert reader.tokens.access_token == access
    with later(ddr, CHANGE + 2 * HOUR):
        assert len(await sensor.chunks()) == 2
        assert reader.tokens.access_token != access and reader.tokens.pairing_id == pairing


@pytest.mark.requirement("SER-011")
async def test_a_key_never_becomes_another_device(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    same = {"serialNumber": "SN-cgm", "name": "Device cgm", "manufacturer": "Muster Medizintechnik AG"}
    for change in ({"serialNumber": "ANOTHER"}, {"manufacturer": "Another AG"}):
        response = await sensor.home.patient.gateway.put("devices/cgm", json={**same, **change})
        assert response.status_code == 409
    assert (await sensor.home.patient.gateway.put("devices/cgm", json=same)).status_code == 200


@pytest.mark.requirement("SER-018")
async def test_overlapping_devices_are_active_side_by_side(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    home, reader, second_ms = sensor.home, sensor.reader, sensor.start_ms + CHANGE
    with later(ddr, CHANGE + HOUR):
        await home.device("second", startedAt=date_time(second_ms))
        await home.cgm("second", second_ms)
        await sensor.send(0, ramp(SLOTS_BEFORE + 11))
        await home.readings("second", second_ms, ramp(11, 50))
        old, new = await sensor.chunks()
        assert values(old) == [str(value) for value in ramp(SLOTS_BEFORE + 11)]
        assert values(new) == [str(value) for value in ramp(11, 50)]
        assert [chunk["status"] for chunk in (old, new)] == ["preliminary"] * 2
        assert [(await device_of(reader, chunk))["status"] for chunk in (old, new)] == ["active"] * 2


@pytest.mark.requirement("SER-007", "SER-017")
async def test_the_expiry_of_the_device_makes_the_running_chunk_final(ddr: Recorder) -> None:
    home, start_ms = Home(ddr, await ddr.patient()), ddr.clock()
    reader = await paired(ddr, home.patient, CGM)
    await home.device("cgm", startedAt=home.ago(0), expirationDate=date_time(start_ms + CHANGE))
    await home.cgm("cgm", start_ms)
    with later(ddr, CHANGE - 1000):
        await home.readings("cgm", start_ms, ramp(SLOTS_BEFORE))
        (running,) = await chunks(reader)
        assert (running["status"], (await device_of(reader, running))["status"]) == ("preliminary", "active")
    with later(ddr, CHANGE + 2000):
        (chunk,) = await chunks(reader)
        assert ((await device_of(reader, chunk))["status"], chunk["status"]) == ("inactive", "final")
        assert not empty(chunk)


@pytest.mark.parametrize("how", ["end", "calibration"])
async def test_a_series_that_ends_as_a_chunk_does_has_none_of_the_last_split_second(ddr: Recorder, how: str) -> None:
    """Chunks start at whole seconds: one began in the second of the end, without readings, beside the next series."""
    home, start_ms = Home(ddr, await ddr.patient()), ddr.clock() + 500
    reader = await paired(ddr, home.patient, CGM)
    await home.device("cgm", startedAt=date_time(start_ms))
    await home.cgm("cgm", start_ms)
    with later(ddr, DAY + HOUR):
        await home.readings("cgm", start_ms, ramp(SLOTS))
        if how == "end":
            await home.device("cgm", startedAt=date_time(start_ms), endedAt=date_time(start_ms + DAY))
        else:
            event = {"time": date_time(start_ms + DAY), "state": "calibration-required"}
            await home.patient.gateway.post("devices/cgm/sensors/s/calibrations", json={"calibrations": [event]})
    with later(ddr, DAY + 2 * HOUR):
        found = [period(chunk) for chunk in await chunks(reader) if chunk["status"] != "entered-in-error"]
        assert found[0] == (start_ms - 500, start_ms - 500 + DAY - 1)
        assert [one[0] for one in found[1:]] == ([] if how == "end" else [start_ms - 500 + DAY])
