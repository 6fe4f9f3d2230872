"""Registering, changing and ending devices."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.store.database.ids import Kind
from tests.gateway.conftest import METER, START, Client, make_client, put_device, put_sensor
from tests.support.clock import Clock

FULL = {
    "modelNumber": "CGPA987654",
    "expirationDate": "2027-12-15",
    "definition": "https://hiis.bfarm.de/api/fhir/v3.0/DeviceDefinition/glucometer-1",
}


async def test_registration_and_repetition(client: Client, core: Core) -> None:
    first = await put_device(client, "meter", **FULL)
    again = await put_device(client, "meter", **FULL)
    device = first.json()
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == (await client.get("/devices/meter")).json()
    assert device == {**again.json(), "heardAt": device["heardAt"]}
    assert device == {
        **METER, **FULL, "key": "meter", "id": device["id"], "startedAt": START, "endedAt": None,
        "replaces": None, "heardAt": "2026-11-22T10:00:00Z",
    }  # fmt: skip
    decoded = core.ids.decode(device["id"])
    assert decoded is not None and decoded[0] is Kind.DEVICE


async def test_start_defaults_to_now_and_may_be_left_out_later(client: Client, clock: Clock) -> None:
    first = await client.put("/devices/meter", json=METER)
    clock.advance(60)
    again = await client.put("/devices/meter", json=METER)
    assert (first.json()["startedAt"], again.json()["startedAt"]) == ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z")
    assert again.json()["heardAt"] == "2026-11-22T10:01:00Z"


async def test_facts_may_change_but_not_the_device(client: Client) -> None:
    first = (await put_device(client, "meter")).json()
    changed = await put_device(client, "meter", name="Other name", expirationDate="2028-01-01")
    assert changed.status_code == 200
    heard = changed.json()["heardAt"]
    assert changed.json() == {**first, "name": "Other name", "expirationDate": "2028-01-01", "heardAt": heard}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("serialNumber", "SN2"),
        ("serialNumber", None),
        ("manufacturer", "Another Inc."),
    ],
)
async def test_another_device_needs_another_key(client: Client, member: str, value: Any) -> None:
    await put_device(client, "meter")
    answer = await put_device(client, "meter", **{member: value})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert member in answer.json()["detail"]


async def test_a_serial_number_may_be_added_later(client: Client) -> None:
    await put_device(client, "meter", serialNumber=None)
    assert (await put_device(client, "meter")).json()["serialNumber"] == METER["serialNumber"]


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": " x"}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x" * 251}, "name"),
        ({"manufacturer": None}, "manufacturer"),
        ({"type": "12345"}, "type"),
        ({"expirationDate": "2027-13-01"}, "expirationDate"),
        ({"expirationDate": "2027-12-01T10:00"}, "expirationDate"),
        ({"definition": "DeviceDefinition/1"}, "definition"),
        ({"definition": "https://example.org/hiis.bfarm.de/DeviceDefinition/1"}, "definition"),
        ({"startedAt": "2026-10-01"}, "startedAt"),
        ({"startedAt": "2026-11-22T10:03:00Z"}, "startedAt"),
        ({"startedAt": "1969-12-31T23:59:59Z"}, "startedAt"),
        ({"endedAt": "2026-09-30T00:00:00Z"}, "endedAt"),
        ({"serialnumber": "1"}, "serialnumber"),
        ({"\ufffe": 1}, "\ufffd"),
    ],
)
async def test_invalid_members(client: Client, members: dict[str, Any], field: str) -> None:
    answer = await put_device(client, "meter", **members)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await client.get("/devices/meter")).status_code == 404


async def test_serial_number_must_be_left_out_on_purpose(client: Client) -> None:
    answer = await client.put("/devices/meter", json={"name": "a", "manufacturer": "b"})
    assert (answer.status_code, answer.json()["field"]) == (422, "serialNumber")


@pytest.mark.parametrize("key", ["a b", "ä", "x" * 65, "..", "%00"])
async def test_invalid_keys(client: Client, key: str) -> None:
    answer = await put_device(client, key)
    assert answer.status_code in {404, 422}  # ".." is resolved by the client


async def test_clock_skew_is_tolerated(client: Client) -> None:
    assert (await put_device(client, "meter", startedAt="2026-11-22T10:02:00Z")).status_code == 201


async def test_end_stays(client: Client) -> None:
    await put_device(client, "meter")
    ended = await put_device(client, "meter", endedAt="2026-11-01T00:00:00Z")
    assert ended.json()["endedAt"] == "2026-11-01T00:00:00Z"
    assert (await put_device(client, "meter")).json()["endedAt"] == "2026-11-01T00:00:00Z"
    assert (await put_device(client, "meter", endedAt="2026-11-01T00:00:00Z")).status_code == 200
    other = await put_device(client, "meter", endedAt="2026-11-02T00:00:00Z")
    assert (other.status_code, other.json()["code"]) == (409, "ended")


async def test_list_in_order_of_registration(client: Client) -> None:
    for key in ("b", "a", "c"):
        await put_device(client, key)
    assert [device["key"] for device in (await client.get("/devices")).json()["devices"]] == ["b", "a", "c"]


async def test_concurrent_registrations_make_one_device(client: Client) -> None:
    answers = await asyncio.gather(*(put_device(client, "meter") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_replaced_device_stays_active_until_the_gateway_ends_it(client: Client) -> None:
    await put_device(client, "old", serialNumber="SN1")
    new = await put_device(client, "new", replaces="old")
    assert (new.status_code, new.json()["replaces"]) == (201, "old")
    assert (await client.get("/devices/old")).json()["endedAt"] is None


async def test_a_replaced_device_can_end_at_once(core: Core, token: str, clock: Clock) -> None:
    settings = replace(core.settings, device_overlap="end")
    async with make_client(replace(core, settings=settings), token) as client:
        await put_device(client, "first")
        await put_device(client, "second", startedAt="2026-11-01T00:00:00Z", replaces="first")
        assert (await client.get("/devices/first")).json()["endedAt"] == "2026-11-01T00:00:00Z"
        await put_sensor(client, "second", "glucose")
        reading = {"time": date_time(clock()), "value": 100}
        body = {"unit": "mg/dL", "readings": [reading]}
        assert (await client.post("/devices/second/sensors/glucose/readings", json=body)).json()["accepted"] == 1
        # readings that overlap with the new device are kept: the old one ends right after its last reading
        await put_device(client, "third", startedAt="2026-11-20T00:00:00Z", replaces="second")
        assert (await client.get("/devices/second")).json()["endedAt"] == "2026-11-22T10:00:00.001Z"


@pytest.mark.parametrize("key", ["new", "unknown"])
async def test_only_another_device_can_be_replaced(client: Client, key: str) -> None:
    answer = await put_device(client, "new", replaces=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-device")
    assert (await client.get("/devices/new")).status_code == 404


async def test_the_same_serial_under_a_second_key_is_told_and_can_be_taken_over(client: Client) -> None:
    first = await put_device(client, "old-install", **METER)
    assert "warning" not in first.json()
    for _ in range(2):
        second = await put_device(client, "new-install", **METER)
        assert '"replaces": "old-install"' in second.json()["warning"]
    other_maker = await put_device(client, "other", **{**METER, "manufacturer": "Other Inc."})
    assert "warning" not in other_maker.json()
    taken = await put_device(client, "new-install", **METER, replaces="old-install")
    assert (taken.status_code, taken.json()["replaces"], "warning" in taken.json()) == (200, "old-install", False)
    assert (await client.get("/devices/old-install")).json()["endedAt"] is not None
    assert (await put_device(client, "new-install", **METER)).status_code == 200
    again = await put_device(client, "new-install", **METER, replaces="other")
    assert (again.status_code, "replaces is old-install" in again.json()["detail"]) == (409, True)


async def test_an_app_that_knows_of_the_first_registration_takes_it_over_at_once(client: Client) -> None:
    await put_device(client, "old-install")
    taken = await put_device(client, "new-install", startedAt="2026-11-01T00:00:00Z", replaces="old-install")
    assert (taken.status_code, "warning" in taken.json()) == (201, False)
    assert (await client.get("/devices/old-install")).json()["endedAt"] == "2026-11-01T00:00:00Z"
