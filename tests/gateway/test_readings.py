"""POST …/readings and POST …/complete through the gateway API."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from itertools import permutations
from typing import Any
from uuid import UUID

import orjson
import pytest

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.series.packing import ERROR, HIGH, LOW
from ddr.series.slots import place
from ddr.store.series import sensors
from ddr.store.series.sensors import Remembered, SensorKey, load
from tests.gateway.conftest import CGM, START, Client, make_client, put_device, put_sensor
from tests.gateway.samples import glucose
from tests.support.clock import Clock
from tests.support.counting import counted
from tests.support.touched import touched

READINGS = "/devices/cgm/sensors/glucose/readings"
COMPLETE = "/devices/cgm/sensors/glucose/complete"
PERIOD = 300_000
LIMITS = {"lower": 40, "upper": 400}

CHUNK = "SELECT version, updated_ms FROM chunk WHERE patient_id = $1 AND filled = 2"


def items(clock: Clock, *values: Any) -> list[dict[str, Any]]:
    """One reading per period, the last one now."""
    first = clock() - (len(values) - 1) * PERIOD
    return [{"time": date_time(first + at * PERIOD), "value": value} for at, value in enumerate(values)]


async def send(client: Client, readings: list[Any], unit: str | None = "mg/dL") -> dict[str, Any]:
    """The response to an upload that is well-formed as a whole."""
    answer = await client.post(READINGS, json={"readings": readings} | ({"unit": unit} if unit else {}))
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
async def cgm(client: Client) -> Client:
    """The gateway, with a continuous sensor registered."""
    assert (await put_device(client, "cgm", **CGM)).status_code == 201
    assert (await put_sensor(client, "cgm", "glucose", limits=LIMITS)).status_code == 201
    return client


async def test_readings_are_accepted_once(cgm: Client, clock: Clock) -> None:
    readings = items(clock, 100, 101, 102)
    first, again = await send(cgm, readings), await send(cgm, readings)
    assert first == {"accepted": 3, "duplicate": 0, "rejected": 0, "items": [{"status": "accepted", "shown": True}] * 3}
    assert again == {"accepted": 0, "duplicate": 3, "rejected": 0, "items": [{"status": "duplicate"}] * 3}


async def test_uploads_that_go_on_are_appended_and_old_ones_merged(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    key = SensorKey(patient_id, "cgm", "glucose")
    for upload in range(4):
        clock.advance(600)
        assert (await send(cgm, items(clock, 107, 108)))["accepted"] == 2
        assert (core.sensors.get(key) is not None) == (upload > 0)  # the first one makes the chunk
    old = {"time": date_time(clock() - 86_400_000), "value": 109}
    assert (await send(cgm, [old]))["accepted"] == 1
    assert core.sensors.get(key) is None


async def test_one_bad_item_blocks_no_other(cgm: Client, clock: Clock) -> None:
    good = items(clock, 100)[0]
    bad = [
        ({"time": "2026-09-30T23:59:59Z", "value": 100}, "before-start"),
        ({"time": date_time(clock() + 3_600_000), "value": 100}, "future"),
        ({**good, "unit": "mmol/L"}, "unit"),
        ({**good, "value": 99.5}, "precision"),
        ({**good, "value": "LO"}, "value"),
        ("x", "malformed"),
        ({"value": 5}, "time"),
    ]
    answer = await send(cgm, [*(item for item, _ in bad), good])
    assert (answer["accepted"], answer["rejected"]) == (1, len(bad))
    assert [item["reason"] for item in answer["items"][:-1]] == [reason for _, reason in bad]
    assert answer["items"][-1]["status"] == "accepted"


async def test_a_number_that_no_double_holds_is_one_bad_item(cgm: Client, clock: Clock) -> None:
    body = orjson.dumps({"unit": "mg/dL", "readings": items(clock, 77777, 100)}).replace(b"77777", b"1e400")
    answer = (await cgm.post(READINGS, content=body, headers=JSON)).json()
    assert [item.get("reason") for item in answer["items"]] == ["value", None]


async def test_an_upload_without_unit_is_refused_item_by_item(cgm: Client, clock: Clock) -> None:
    good, own = items(clock, 100, 100)
    answer = await send(cgm, [good, own | {"unit": "mg/dL"}], unit=None)
    assert [item["status"] for item in answer["items"]] == ["rejected", "accepted"]
    assert answer["items"][0]["reason"] == "unit"


async def test_numbers_beyond_the_limits_are_told(cgm: Client, clock: Clock) -> None:
    answer = await send(cgm, items(clock, 39, "L", 401, "U", "E", 40))
    assert [item.get("stored") for item in answer["items"]] == ["L", None, "U", None, None, None]


async def test_the_loser_of_a_slot_is_told(cgm: Client, clock: Clock) -> None:
    now = clock()
    await send(cgm, items(clock, 100, 101))
    answer = await send(cgm, [{"time": date_time(now - 1000), "value": 50}])
    (item,) = answer["items"]
    assert (item["status"], item["shown"], item["reason"]) == ("accepted", False, "superseded")


async def test_a_reading_twice_in_one_upload(cgm: Client, clock: Clock) -> None:
    [reading] = items(clock, 100)
    answer = await send(cgm, [reading, reading])
    assert [item["status"] for item in answer["items"]] == ["accepted", "duplicate"]


async def test_an_upload_without_readings(cgm: Client) -> None:
    assert await send(cgm, []) == {"accepted": 0, "duplicate": 0, "rejected": 0, "items": []}


async def test_readings_after_the_end_are_rejected(cgm: Client, clock: Clock) -> None:
    await send(cgm, items(clock, 100, 101))
    ended = date_time(clock() + 60_000)
    assert (await put_device(cgm, "cgm", **CGM, endedAt=ended)).status_code == 200
    clock.advance(300)
    answer = await send(cgm, items(clock, 102))
    assert answer["items"][0]["reason"] == "after-end"


@pytest.mark.parametrize(
    ("body", "status"),
    [([], 422), ({}, 422), ({"readings": 5}, 422), ({"readings": [], "units": "mg/dL"}, 422)],
)
async def test_a_malformed_upload_is_refused_as_a_whole(cgm: Client, body: Any, status: int) -> None:
    assert (await cgm.post(READINGS, json=body)).status_code == status


async def test_too_many_items_are_refused(cgm: Client, core: Core) -> None:
    most = core.settings.gateway_max_items
    answer = await cgm.post(READINGS, content=b'{"readings":[' + b",".join([b"1"] * (most + 1)) + b"]}", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-items")


JSON = {"content-type": "application/json"}


async def test_a_week_offline_in_one_compressed_upload(cgm: Client, clock: Clock) -> None:
    body = gzip.compress(orjson.dumps({"unit": "mg/dL", "readings": items(clock, *range(100, 399))}))
    answer = await cgm.post(READINGS, content=body, headers=JSON | {"content-encoding": "gzip"})
    assert answer.json()["accepted"] == 299


async def test_unknown_sensors_and_those_of_other_patients_are_not_found(
    cgm: Client, stranger: Client, clock: Clock
) -> None:
    body = {"unit": "mg/dL", "readings": items(clock, 100)}
    for client, path in ((cgm, "/devices/cgm/sensors/other/readings"), (stranger, READINGS)):
        assert (await client.post(path, json=body)).status_code == 404
    assert (await stranger.post(COMPLETE, json={"until": START})).status_code == 404


async def test_dedicated_sensors_have_no_series(client: Client, clock: Clock) -> None:
    await put_device(client, "meter")
    await put_sensor(client, "meter", "glucose", code="2339-0", samplingPeriodMs=None)
    answer = await client.post("/devices/meter/sensors/glucose/readings", json={"readings": items(clock, 1)})
    assert (answer.status_code, answer.json()["code"]) == (409, "not-continuous")


async def test_completeness_is_noted_and_never_goes_back(cgm: Client, clock: Clock) -> None:
    until = date_time(clock())
    assert (await cgm.post(COMPLETE, json={"until": until})).json() == {"until": until}
    assert (await cgm.post(COMPLETE, json={"until": START})).json() == {"until": until}


@pytest.mark.parametrize("body", [{}, {"until": "today"}, {"until": "2099-01-01T00:00:00Z"}, {"until": None}])
async def test_a_malformed_completeness_is_refused(cgm: Client, body: dict[str, Any]) -> None:
    assert (await cgm.post(COMPLETE, json=body)).status_code == 422


async def test_two_workers_and_two_clients_lose_nothing(
    cgm: Client, core: Core, clock: Clock, token: str, patient_id: UUID
) -> None:
    other = make_client(replace(core, sensors=Remembered()), token)
    readings = items(clock, *range(100, 340))

    async def taken(client: Client, part: list[Any]) -> int:
        body = {"unit": "mg/dL", "readings": part}
        while (answer := await client.post(READINGS, json=body)).status_code == 503:
            pass  # busy, after the wait
        return int(answer.json()["accepted"])

    async def upload(client: Client, step: int) -> int:
        return sum([await taken(client, readings[at : at + 9]) for at in range(0, len(readings), step)])

    async with other:
        accepted = await asyncio.gather(upload(cgm, 6), upload(other, 4), upload(cgm, 9))
    assert sum(accepted) == len(readings)
    stored = "SELECT sum(octet_length(vals)) / 2 FROM chunk WHERE patient_id = $1"
    assert await core.pool.fetchval(stored, patient_id) == len(readings)


async def test_a_sensor_that_vanishes_is_not_found(cgm: Client, core: Core, clock: Clock, patient_id: UUID) -> None:
    await send(cgm, items(clock, 100, 101))
    await send(cgm, [{"time": date_time(clock() + 60_000), "value": 1}])
    for table in ("chunk", "epoch", "sensor"):
        await core.pool.execute(f"DELETE FROM {table} WHERE patient_id = $1", patient_id)
    assert (await cgm.post(READINGS, json={"unit": "mg/dL", "readings": items(clock, 1)})).status_code == 404


UPLOADS = "/devices/cgm/sensors/glucose/uploads"
TURNS = 3  # the cheapest of which counts: the database may do some work of its own in one of them


async def test_an_upload_made_in_error_is_taken_back(cgm: Client, clock: Clock, core: Core, patient_id: UUID) -> None:
    readings = items(clock, *range(100, 112))
    await send(cgm, readings[:6])
    body = {"unit": "mg/dL", "readings": readings[5:], "upload": "wrong"}
    assert (await cgm.post(READINGS, json=body)).json()["accepted"] == 6
    for _ in range(2):
        assert (await cgm.delete(f"{UPLOADS}/wrong")).status_code == 204
    state = (await cgm.get("/devices/cgm/sensors/glucose")).json()
    assert state["storedUntil"] == readings[4]["time"]
    again = await send(cgm, readings)
    assert (again["duplicate"], again["rejected"]) == (5, 7)
    assert {item["reason"] for item in again["items"][5:]} == {"deleted"}
    assert (await cgm.post(READINGS, json=body)).json()["code"] == "deleted"
    assert (await cgm.post(READINGS, json=body | {"upload": "right"})).json()["accepted"] == 7


async def test_the_order_of_uploads_and_deletion_does_not_matter(cgm: Client, clock: Clock) -> None:
    both, wrong = items(clock, 100, 101, 102)[:2], items(clock, 100, 101, 102)[1:]
    for key, readings in (("right", both), ("wrong", wrong)):
        await cgm.post(READINGS, json={"unit": "mg/dL", "readings": readings, "upload": key})
    await cgm.delete(f"{UPLOADS}/wrong")
    assert (await cgm.get("/devices/cgm/sensors/glucose")).json()["storedUntil"] == both[1]["time"]


async def planned_anew(core: Core) -> None:
    """With a plan from the time when there were few, all of them are read."""
    await core.pool.execute("ANALYZE upload")


@pytest.mark.parametrize("taken_back", [False, True])
async def test_an_upload_reads_none_of_those_before(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID, taken_back: bool
) -> None:
    """An app that gives each reading a key has 105,000 of them after a year, of which some were sent in error."""
    await cgm.post(READINGS, json={"unit": "mg/dL", "readings": items(clock, 100), "upload": "first"})
    await core.pool.execute(
        """INSERT INTO upload (patient_id, sensor_no, upload_key, times, vals, created_ms, deleted_ms)
           SELECT patient_id, sensor_no, 'of-old-' || n, ARRAY[n * 300000::bigint], vals, created_ms,
                  CASE WHEN $2 AND n % 40 = 0 THEN 0 END
             FROM upload, generate_series(1, 2000) n WHERE patient_id = $1""",
        patient_id,
        taken_back,
    )
    await core.pool.execute(  # next to a single one all are read, as that is cheaper (tests/store/test_uploads.py)
        """INSERT INTO upload (patient_id, sensor_no, upload_key, times, vals, created_ms)
           SELECT gen_random_uuid(), -n, 'key', ARRAY[0::bigint], ARRAY[1], 0 FROM generate_series(1, 300) n"""
    )
    for upload in ({"upload": "next"}, {}, {"correction": True}):
        fetched = []
        for turn in range(TURNS):
            clock.advance(600)
            core.sensors.forget(SensorKey(patient_id, "cgm", "glucose"))
            await planned_anew(core)
            key = {"upload": f"next-{turn}"} if "upload" in upload else upload
            async with touched(core.pool, "upload") as work:
                answer = await cgm.post(READINGS, json={"unit": "mg/dL", "readings": items(clock, 101), **key})
            assert answer.json()["accepted"] == 1
            fetched.append(work.fetched)
        assert min(fetched) < 100, (upload, fetched)
    fetched = []
    for turn in range(TURNS):
        await planned_anew(core)
        async with touched(core.pool, "upload") as work:
            assert (await cgm.delete(f"{UPLOADS}/next-{turn}")).status_code == 204
        fetched.append(work.fetched)
    assert min(fetched) < 100, fetched


async def test_what_comes_after_all_that_was_taken_back_is_appended(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    """And nothing is appended while something that was taken back is newer than everything that is stored."""
    readings = items(clock, *range(100, 112))
    await send(cgm, readings[:2])
    await cgm.post(READINGS, json={"unit": "mg/dL", "readings": readings[2:8], "upload": "wrong"})
    await cgm.delete(f"{UPLOADS}/wrong")
    for count, appended in ((4, False), (8, False), (9, True), (12, True)):
        answer = await send(cgm, readings[:count])
        assert answer["rejected"] == min(count - 2, 6)
        sensor = await load(core.pool, patient_id, "cgm", "glucose")
        assert sensor is not None
        assert (sensor.tail is not None) == appended


async def test_an_unknown_upload_is_not_found(cgm: Client, stranger: Client, clock: Clock) -> None:
    await cgm.post(READINGS, json={"unit": "mg/dL", "readings": items(clock, 1), "upload": "mine"})
    for client, key in ((cgm, "other"), (stranger, "mine")):
        assert (await client.delete(f"{UPLOADS}/{key}")).status_code == 404


async def test_limits_can_be_added_once_and_make_new_versions(
    client: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    refused, taken = (await send(client, items(clock, "L", 100)))["items"]
    assert (refused["reason"], refused["retry"], taken["status"]) == ("range", True, "accepted")
    low = {"time": date_time(clock() - PERIOD), "value": "L"}
    clock.advance(300)
    await send(client, items(clock, 101))
    before = await core.pool.fetchrow(CHUNK, patient_id)
    for limits in ({"lower": 40}, LIMITS, LIMITS):
        clock.advance(1)
        answer = await put_sensor(client, "cgm", "glucose", limits=limits)
        assert (answer.status_code, answer.json()["limits"]) == (200, limits)
    after = await core.pool.fetchrow(CHUNK, patient_id)
    assert (after["version"], after["updated_ms"]) == (before["version"] + 2, clock() - 1000)
    assert (await put_sensor(client, "cgm", "glucose")).status_code == 200
    other = await put_sensor(client, "cgm", "glucose", limits={"lower": 50, "upper": 400})
    assert other.status_code == 409
    assert 'limits {"lower":40,"upper":400}' in other.json()["detail"]
    assert (await send(client, [low]))["items"] == [{"status": "accepted", "shown": True}]
    assert (await send(client, items(clock, 500)))["items"][0]["stored"] == "U"


async def test_numbers_from_before_the_limits_were_known_are_those_that_come_after(
    client: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    """The same upload again is recognized, and no SampledData has numbers beyond its limits."""
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    readings = items(clock, 39, 120, 450)
    await send(client, readings)
    await corrected(client, [{**readings[1], "value": 460}])
    first = (await corrected(client, [{**readings[1], "value": 470}], upload="mine"))[0]
    assert first["status"] == "accepted"
    await put_sensor(client, "cgm", "glucose", limits=LIMITS)
    assert await shown_values(core, patient_id) == [LOW, HIGH, HIGH]
    again = await send(client, readings)
    assert [item["status"] for item in again["items"]] == ["duplicate"] * 3
    assert again["items"][1]["reason"] == "superseded"
    assert await shown_values(core, patient_id) == [LOW, HIGH, HIGH]
    assert (await client.delete(f"{UPLOADS}/mine")).status_code == 204
    assert await shown_values(core, patient_id) == [LOW, 120, HIGH]


async def test_a_worker_that_does_not_know_the_limits_yet_looks_again(
    client: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    for _ in range(2):
        clock.advance(300)
        await send(client, items(clock, 100))
    key = SensorKey(patient_id, "cgm", "glucose")
    outdated = core.sensors.get(key)
    assert outdated is not None
    await put_sensor(client, "cgm", "glucose", limits=LIMITS)
    for value, stored in (("L", None), (500, "U")):
        core.sensors.put(key, outdated)
        clock.advance(300)
        (item,) = (await send(client, items(clock, value)))["items"]
        assert (item["status"], item.get("stored")) == ("accepted", stored)


@pytest.mark.parametrize("members", [{}, {"upload": "mine"}, {"correction": True}])
@pytest.mark.parametrize("before", [0, 2])
async def test_limits_that_are_added_while_an_upload_waits_for_its_turn_hold_for_it(
    client: Client, clock: Clock, core: Core, patient_id: UUID, monkeypatch: pytest.MonkeyPatch, before: int,
    members: dict[str, Any],
) -> None:  # fmt: skip
    """No number beyond the limits is ever stored, and the response says what is stored."""
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    for _ in range(before):
        await send(client, items(clock, 100))
        clock.advance(600)
    added = [{"lower": 40}, LIMITS]

    async def then_limited(*args: Any) -> Any:
        found = await load(*args)
        if added:
            assert (await put_sensor(client, "cgm", "glucose", limits=added.pop(0))).status_code == 200
        return found

    core.sensors.forget(SensorKey(patient_id, "cgm", "glucose"))
    monkeypatch.setattr(sensors, "load", then_limited)
    body = {"unit": "mg/dL", "readings": items(clock, 39, 450)} | members
    answer = (await client.post(READINGS, json=body)).json()
    assert [item.get("stored") for item in answer["items"]] == ["L", "U"]
    assert (await shown_values(core, patient_id))[-2:] == [LOW, HIGH]
    assert (await send(client, body["readings"]))["duplicate"] == 2


async def test_an_upload_in_the_other_unit_is_refused_whole(cgm: Client, clock: Clock) -> None:
    answer = await cgm.post(READINGS, json={"unit": "mg/dL", "readings": items(clock, 5, 6, 7)})
    assert (answer.status_code, answer.json()["code"], answer.json()["retry"]) == (422, "unit", False)
    assert "look like mmol/L" in answer.json()["detail"]
    for value in (6, 22.4):  # alone; 22.4 mmol/L as L would read as below 40 mg/dL
        (one,) = (await send(cgm, items(clock, value)))["items"]
        assert (one["reason"], "mmol/L" in one["detail"]) == ("implausible", True)


async def test_a_future_reading_passes_and_says_the_time(cgm: Client, clock: Clock) -> None:
    ahead = {"time": date_time(clock() + 3_600_000), "value": 100}
    (item,) = (await send(cgm, [ahead]))["items"]
    assert (item["reason"], item["retry"]) == ("future", True)
    assert date_time(clock() // 1000 * 1000) in item["detail"]
    clock.advance(3600)
    assert (await send(cgm, [ahead]))["accepted"] == 1


async def test_an_unusual_value_has_a_warning(cgm: Client, clock: Clock) -> None:
    await put_sensor(cgm, "cgm", "wide", limits={"lower": 20, "upper": 1000})
    path = READINGS.replace("glucose", "wide")
    answer = await cgm.post(path, json={"unit": "mg/dL", "readings": items(clock, 30, 100, 600)})
    assert ["warning" in item for item in answer.json()["items"]] == [True, False, True]


async def shown_values(core: Core, patient_id: UUID) -> list[int]:
    """The values that the sensor's chunks show."""
    rows = await core.pool.fetch(
        "SELECT times, vals FROM chunk WHERE patient_id = $1 AND filled > 0 ORDER BY start_ms", patient_id
    )
    slots = (raw for row in rows for raw in place(row["times"], row["vals"], PERIOD)[0])
    return [raw for raw in slots if raw != ERROR]


async def corrected(client: Client, readings: list[Any], **members: Any) -> list[Any]:
    """The items of the response to a correction."""
    answer = await client.post(READINGS, json={"unit": "mg/dL", "readings": readings, "correction": True, **members})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["items"]
    return found


async def test_a_correction_is_meant_or_not(cgm: Client, clock: Clock) -> None:
    for given in (1, 0, "true"):
        answer = await cgm.post(READINGS, json={"unit": "mg/dL", "readings": items(clock, 100), "correction": given})
        assert (answer.status_code, answer.json()["field"]) == (422, "correction")


async def test_a_correction_replaces_and_the_former_value_stays_in_the_trail(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    first = items(clock, 100, 101, 102)
    await send(cgm, first)
    for value in (150, 90, 150):
        assert await corrected(cgm, [{**first[1], "value": value}]) == [{"status": "accepted", "shown": True}]
        assert await shown_values(core, patient_id) == [100, value, 102]
    assert await corrected(cgm, [{**first[1], "value": 150}]) == [{"status": "duplicate"}]
    (again,) = (await send(cgm, [first[1]]))["items"]
    assert (again["status"], again["shown"], again["reason"]) == ("duplicate", False, "superseded")
    assert await shown_values(core, patient_id) == [100, 150, 102]
    trail = await core.pool.fetch(
        "SELECT raw, replaced_ms IS NULL AS stands FROM claim WHERE patient_id = $1 ORDER BY claim_no", patient_id
    )
    assert [tuple(row) for row in trail] == [(101, False), (90, False), (150, True)]
    two = [{**first[2], "value": value} for value in (111, 112)]
    assert [item.get("reason") for item in await corrected(cgm, two)] == ["superseded", None]
    assert await shown_values(core, patient_id) == [100, 150, 112]


async def test_a_correction_of_many_readings_compares_none_with_all_others(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    """An app that marks everything it sends as corrected, and sends all days at once, waited until it got 503."""
    many = items(clock, *[100 + at % 50 for at in range(250)])
    for value in (None, 151):
        readings = [one if value is None else {**one, "value": value} for one in many]
        for status in ("accepted", "duplicate"):
            async with counted(core.pool) as statements:
                assert {item["status"] for item in await corrected(cgm, readings)} == {status}
            assert sum("SET replaced_ms" in one for one in statements) == 3
    assert await shown_values(core, patient_id) == [151] * 250
    assert {item["reason"] for item in (await send(cgm, many))["items"]} == {"superseded"}


async def test_a_correction_amends_a_final_chunk(cgm: Client, clock: Clock, core: Core, patient_id: UUID) -> None:
    await send(cgm, items(clock, 100, 101))
    await cgm.post(READINGS.replace("readings", "complete"), json={"until": date_time(clock())})
    clock.advance(40 * 86_400)
    state = "SELECT status, version FROM chunk WHERE patient_id = $1 AND filled > 0"
    before = await core.pool.fetchrow(state, patient_id)
    await corrected(cgm, [{"time": date_time(clock() - 40 * 86_400_000), "value": 99}])
    after = await core.pool.fetchrow(state, patient_id)
    assert (after["status"], after["version"] > before["version"]) == ("a", True)
    assert await shown_values(core, patient_id) == [100, 99]


async def test_values_in_conflict_are_told_and_taking_one_back_shows_the_newest(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    (reading,) = items(clock, 100)

    async def upload(value: int, **members: str) -> Any:
        body = {"unit": "mg/dL", "readings": [{**reading, "value": value}], **members}
        return (await cgm.post(READINGS, json=body)).json()["items"][0]

    assert await upload(100, upload="u1") == {"status": "accepted", "shown": True}
    for value, members in ((150, {}), (160, {"upload": "u2"})):
        item = await upload(value, **members)
        assert (item["status"], item["shown"], item["reason"]) == ("accepted", False, "conflict")
    assert await shown_values(core, patient_id) == [100]
    assert (await cgm.delete(READINGS.replace("readings", "uploads/u1"))).status_code == 204
    assert await shown_values(core, patient_id) == [160]
    assert (await cgm.delete(READINGS.replace("readings", "uploads/u2"))).status_code == 204
    assert await shown_values(core, patient_id) == [150]


async def test_a_correction_that_is_taken_back_gives_way_to_the_value_before(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    readings = items(clock, 100, 101)
    await send(cgm, readings)
    await corrected(cgm, [{**readings[0], "value": 222}], upload="wrong")
    assert await shown_values(core, patient_id) == [222, 101]
    await cgm.delete(READINGS.replace("readings", "uploads/wrong"))
    assert await shown_values(core, patient_id) == [100, 101]
    assert (await send(cgm, readings))["duplicate"] == 2


async def test_taking_back_changes_nothing_at_other_instants_and_again_nothing_at_all(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    first, reading = items(clock, 80, 90)
    await send(cgm, [first])
    for key, value in (("u1", 90), ("u2", 100)):
        body = {"unit": "mg/dL", "readings": [{**reading, "value": value}], "upload": key}
        assert (await cgm.post(READINGS, json=body)).json()["accepted"] == 1
    for key in ("u1", "u2"):
        await cgm.delete(f"{UPLOADS}/{key}")
    for value in (110, 120):
        await send(cgm, [{**reading, "value": value}])
    assert await shown_values(core, patient_id) == [80, 110]
    await cgm.post(READINGS, json={"unit": "mg/dL", "readings": [{**first, "value": 70}], "upload": "u3"})
    for key, left in (("u1", 70), ("u2", 70), ("u3", 80)):
        assert (await cgm.delete(f"{UPLOADS}/{key}")).status_code == 204
        assert await shown_values(core, patient_id) == [left, 110]


async def test_a_correction_stands_whatever_comes_before_or_after_it(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    """Data may be sent in any order: each instant has three plain values and a correction, in every order."""
    orders = list(permutations((99, "E", 150, "right")))
    instants = items(clock, *range(len(orders)))
    for step in range(4):
        right = [{**one, "value": 120} for one, order in zip(instants, orders, strict=True) if order[step] == "right"]
        assert {item["status"] for item in await corrected(cgm, right, upload=f"right{step}")} == {"accepted"}
        rest = [(one, order) for one, order in zip(instants, orders, strict=True) if order[step] != "right"]
        answer = await send(cgm, [{**one, "value": order[step]} for one, order in rest])
        for (_, order), item in zip(rest, answer["items"], strict=True):
            assert item["status"] == "accepted"
            assert (item.get("reason") == "superseded") == ("right" in order[:step])
    assert await shown_values(core, patient_id) == [120] * len(orders)
    for value in (99, 150):
        assert (await send(cgm, [{**one, "value": value} for one in instants]))["duplicate"] == len(orders)
    for step in range(4):
        await cgm.delete(READINGS.replace("readings", f"uploads/right{step}"))
    last = [[value for value in order if value != "right"][-1] for order in orders]  # the newest of the others
    assert await shown_values(core, patient_id) == [value for value in last if value != "E"]


async def test_of_two_corrections_the_former_stands_again_before_a_later_value(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    (reading,) = items(clock, 100)
    await corrected(cgm, [reading])
    await corrected(cgm, [{**reading, "value": 110}], upload="wrong")
    await send(cgm, [{**reading, "value": 90}])
    await cgm.delete(READINGS.replace("readings", "uploads/wrong"))
    assert await shown_values(core, patient_id) == [100]
    (item,) = (await send(cgm, [{**reading, "value": 80}]))["items"]
    assert (item["status"], item["shown"], item["reason"]) == ("accepted", False, "superseded")
    assert await shown_values(core, patient_id) == [100]


async def test_what_is_older_than_what_is_kept_is_rejected_item_by_item(core: Core, token: str, clock: Clock) -> None:
    """A reading that would be deleted the next day is not accepted."""
    keeping = replace(core, settings=replace(core.settings, readings_days=20))
    async with make_client(keeping, token) as client:
        await put_device(client, "cgm", **CGM)
        await put_sensor(client, "cgm", "glucose")
        old, kept = (date_time(clock() - days * 86_400_000 // 2) for days in (41, 39))
        answer = await send(client, [{"time": old, "value": 100}, {"time": kept, "value": 101}])
        assert [item.get("reason") for item in answer["items"]] == ["too-old", None]
        assert (answer["accepted"], answer["rejected"], answer["items"][0]["retry"]) == (1, 1, False)
        for time, result in ((old, 422), (kept, 201)):
            single = await client.put("/measurements/m-" + time[:10], json=glucose(effective=time, device="cgm"))
            assert single.status_code == result, single.text
            assert result == 201 or single.json()["code"] == "too-old"
