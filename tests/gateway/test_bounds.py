"""What one patient may register, and the start of sensors: bounds are reported, and starts can be corrected."""

from __future__ import annotations

import uuid
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from tests.gateway.conftest import CGM, Client, put_device, put_sensor
from tests.support.clock import Clock

DAY = 86_400_000
MINUTE = 60_000
READINGS = "/devices/cgm/sensors/glucose/readings"
CALIBRATIONS = "/devices/cgm/sensors/glucose/calibrations"


async def upload(client: Client, *times_ms: int) -> list[dict[str, Any]]:
    """Readings at these times; the items of the response."""
    readings = [{"time": date_time(time), "value": 100} for time in times_ms]
    answer = await client.post(READINGS, json={"unit": "mg/dL", "readings": readings})
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def chunks(core: Core, patient_id: uuid.UUID) -> int:
    found: int = await core.pool.fetchval("SELECT count(*) FROM chunk WHERE patient_id = $1", patient_id)
    return found


async def test_a_phone_whose_clock_was_reset_makes_few_rows(
    client: Client, core: Core, patient_id: uuid.UUID, clock: Clock
) -> None:
    await put_device(client, "cgm", **CGM, startedAt="1970-01-01T00:00:00Z")
    for _ in range(2):  # the same request again is the same sensor
        answer = await put_sensor(client, "cgm", "glucose", startedAt="1970-01-01T00:00:00Z")
        assert answer.status_code in (200, 201)
    first, second = await upload(client, clock() - MINUTE, 365 * DAY)
    assert (first["status"], second["reason"]) == ("accepted", "before-start")
    assert 0 < await chunks(core, patient_id) < 100
    clock.advance(5 * 86_400)
    assert (await put_sensor(client, "cgm", "glucose", startedAt="1970-01-01T00:00:00Z")).status_code == 200


async def test_a_start_is_corrected_where_no_data_contradicts(client: Client, clock: Clock) -> None:
    await put_device(client, "cgm", **CGM, startedAt="1970-01-01T00:00:00Z")
    await put_sensor(client, "cgm", "glucose", calibration={"state": "calibrated"})
    await upload(client, clock() - 2 * DAY, clock() - DAY, clock() - MINUTE)
    right = date_time(clock() - 3 * DAY)
    answer = await put_device(client, "cgm", **CGM, startedAt=right)
    assert (answer.status_code, answer.json()["startedAt"]) == (200, right)
    sensor = (await client.get("/devices/cgm/sensors/glucose")).json()
    assert (sensor["startedAt"], sensor["storedUntil"]) == (right, date_time(clock() - MINUTE))
    statuses = [item["status"] for item in await upload(client, clock() - 2 * DAY, clock() - DAY, clock() - MINUTE)]
    assert statuses == ["duplicate"] * 3
    earlier = date_time(clock() - 4 * DAY)
    assert (await put_device(client, "cgm", **CGM, startedAt=earlier)).status_code == 200
    assert (await put_sensor(client, "cgm", "glucose", startedAt=earlier, calibration={"state": "calibrated"})).json()[
        "startedAt"
    ] == earlier
    assert [item["status"] for item in await upload(client, clock() - 3 * DAY - MINUTE)] == ["accepted"]


async def test_the_start_of_a_sensor_that_is_worn_for_long_is_corrected(client: Client, clock: Clock) -> None:
    """Implants last a year, and an app sends the whole registration each time."""
    await put_device(client, "cgm", **CGM, startedAt="1970-01-01T00:00:00Z")
    await put_sensor(client, "cgm", "glucose", startedAt=date_time(clock() - 3 * DAY))
    await upload(client, clock() - 2 * DAY)
    right = date_time(clock() - 4 * DAY)
    clock.advance(200 * 86_400)
    for _ in range(2):
        answer = await put_sensor(client, "cgm", "glucose", startedAt=right)
        assert (answer.status_code, answer.json().get("startedAt")) == (200, right)
        clock.advance(86_400)


async def test_a_start_that_data_contradicts_stays(client: Client, clock: Clock) -> None:
    begun = date_time(clock() - 3 * DAY)
    await put_device(client, "cgm", **CGM, startedAt=begun)
    await put_sensor(client, "cgm", "glucose")
    await upload(client, clock() - 2 * DAY, clock() - MINUTE)
    later = date_time(clock() - DAY)
    refused = [
        await put_device(client, "cgm", **CGM, startedAt=later),
        await put_sensor(client, "cgm", "glucose", startedAt=later),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(409, "conflict")] * 2
    assert (await client.get("/devices/cgm")).json()["startedAt"] == begun
    assert (await client.get("/devices/cgm/sensors/glucose")).json()["startedAt"] == begun


async def test_calibrations_and_single_values_contradict_a_start_as_well(client: Client, clock: Clock) -> None:
    begun, later = date_time(clock() - 3 * DAY), date_time(clock() - DAY)
    await put_device(client, "cgm", **CGM, startedAt=begun)
    await put_sensor(client, "cgm", "glucose", calibration={"state": "not-calibrated"})
    event = {"time": date_time(clock() - 2 * DAY), "state": "calibrated"}
    assert (await client.post(CALIBRATIONS, json={"calibrations": [event]})).json()["accepted"] == 1
    assert (await put_device(client, "cgm", **CGM, startedAt=later)).status_code == 409
    await put_device(client, "meter", startedAt=begun)
    value = {"code": "2339-0", "device": "meter", "effective": date_time(clock() - 2 * DAY), "value": 100}
    answer = await client.put("/measurements/m", json={**value, "unit": "mg/dL"})
    assert answer.status_code == 201, answer.text
    assert (await put_device(client, "meter", startedAt=later)).status_code == 409


def told(answer: httpx.Response, bound: int) -> None:
    """The refusal names the bound."""
    assert (answer.status_code, answer.json()["code"]) == (409, "limit")
    assert f"at most {bound} " in answer.json()["detail"]


async def test_devices_and_sensors_are_bounded(client: Client) -> None:
    with patch("ddr.gateway.devices.MOST_DEVICES", 3), patch("ddr.gateway.sensors.MOST_SENSORS", 2):
        for number in range(3):
            assert (await put_device(client, f"d{number}")).status_code == 201
        told(await put_device(client, "d3"), 3)
        assert (await put_device(client, "d2", name="Another")).status_code == 200
        for number in range(2):
            assert (await put_sensor(client, "d0", f"s{number}")).status_code == 201
        told(await put_sensor(client, "d0", "s2"), 2)
        assert (await put_sensor(client, "d0", "s1")).status_code == 200


async def test_calibrations_and_changes_of_state_are_bounded(client: Client, clock: Clock) -> None:
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose", calibration={"state": "calibrated"})

    def events(count: int, *states: str) -> dict[str, Any]:
        times = [date_time(clock() - 10 * DAY + number * MINUTE) for number in range(count)]
        return {"calibrations": [{"time": time, "state": states[at % len(states)]} for at, time in enumerate(times)]}

    with patch("ddr.gateway.calibrations.MOST_CALIBRATIONS", 20), patch("ddr.gateway.calibrations.MOST_EPOCHS", 5):
        told(await client.post(CALIBRATIONS, json=events(21, "calibrated")), 20)
        told(await client.post(CALIBRATIONS, json=events(20, "not-calibrated", "calibrated")), 5)
        assert (await client.post(CALIBRATIONS, json=events(20, "calibrated"))).json()["accepted"] == 20


async def test_calibrations_that_are_taken_back_count(
    client: Client, core: Core, patient_id: uuid.UUID, clock: Clock
) -> None:
    """Each leaves a DeviceMetric: a gateway that reports and takes back repeatedly gets no more of them than others."""
    start = clock() - 10 * DAY
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose", startedAt=date_time(start), calibration={"state": "not-calibrated"})
    await upload(client, *(start + number * MINUTE for number in range(0, 100, 5)))

    async def report(number: int, state: str = "calibrated") -> httpx.Response:
        time = date_time(start + number * MINUTE)
        return await client.post(CALIBRATIONS, json={"calibrations": [{"time": time, "state": state}]})

    with patch("ddr.gateway.calibrations.MOST_EPOCHS", 5):
        for number in (60, 50, 40):
            assert (await report(number)).json()["accepted"] == 1
            time = date_time(start + number * MINUTE)
            assert (await client.delete(f"{CALIBRATIONS}/{time}")).status_code == 204
        assert (await report(30)).json()["accepted"] == 1
        told(await report(80, "not-calibrated"), 5)
        assert (await report(30)).json()["duplicate"] == 1
        assert (await report(60)).json()["rejected"] == 1
    epochs = await core.pool.fetchval("SELECT count(*) FROM epoch WHERE patient_id = $1", patient_id)
    assert epochs <= 5


async def test_20_000_alternating_calibrations_are_refused_at_once(client: Client, core: Core, clock: Clock) -> None:
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose", calibration={"state": "calibrated"})
    times = [date_time(clock() - 20 * DAY + number * MINUTE) for number in range(20_000)]
    states = ("not-calibrated", "calibrated")
    events = [{"time": time, "state": states[at % 2]} for at, time in enumerate(times)]
    told(await client.post(CALIBRATIONS, json={"calibrations": events}), 2_000)


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_a_bundle_registers_a_bounded_number_of_devices(client: Client, kind: str) -> None:
    entry = {
        "resource": {"resourceType": "Device", "manufacturer": "x"},
        "request": {"method": "POST", "url": "Device"},
    }
    bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry] * 2_000}
    answer = await client.post("/fhir", json=bundle, headers={"content-type": "application/fhir+json"})
    assert answer.status_code == 413
    assert "more than 500 devices" in answer.text
