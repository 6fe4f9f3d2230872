"""POST and GET …/calibrations through the gateway API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.store.database.digest import sha256
from tests.gateway.conftest import CGM, START, Client, put_device, put_sensor
from tests.gateway.samples import glucose
from tests.support.clock import Clock

CALIBRATIONS = "/devices/cgm/sensors/glucose/calibrations"
READINGS = "/devices/cgm/sensors/glucose/readings"
PERIOD, HOUR, DAY = 300_000, 3_600_000, 86_400_000


def event(time_ms: int, state: str, **members: Any) -> dict[str, Any]:
    """A calibration as gateways send it."""
    return {"time": date_time(time_ms), "state": state, **members}


async def report(client: Client, *events: Any) -> dict[str, Any]:
    """The response to events that are well-formed as a whole."""
    answer = await client.post(CALIBRATIONS, json={"calibrations": events})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def states(client: Client) -> list[tuple[str, str]]:
    """State and DeviceMetric of each event in the history."""
    found = (await client.get(CALIBRATIONS)).json()["calibrations"]
    return [(entry["state"], entry["metricId"]) for entry in found]


@pytest.fixture
async def cgm(client: Client) -> Client:
    """The gateway, with a sensor in warm-up registered."""
    await put_device(client, "cgm", **CGM)
    answer = await put_sensor(client, "cgm", "glucose", calibration={"state": "not-calibrated"})
    assert answer.status_code == 201
    return client


async def chunks(core: Core, patient_id: UUID) -> list[tuple[int, int, str, int, int]]:
    """Epoch (numbered by time), number, status, version and readings of each chunk."""
    rows = await core.pool.fetch(
        """SELECT dense_rank() OVER (ORDER BY e.from_ms) - 1 AS epoch, k, status, c.version, filled
             FROM epoch e JOIN chunk c USING (patient_id, epoch_no) WHERE patient_id = $1 ORDER BY 1, 2""",
        patient_id,
    )
    return [tuple(row) for row in rows]


async def send(client: Client, first_ms: int, count: int) -> None:
    """Readings, one per period."""
    items = [{"time": date_time(first_ms + at * PERIOD), "value": 100 + at % 50} for at in range(count)]
    answer = await client.post(READINGS, json={"unit": "mg/dL", "readings": items})
    assert answer.json()["rejected"] == 0


async def test_a_change_of_state_begins_a_new_metric(cgm: Client, clock: Clock) -> None:
    answer = await report(cgm, event(clock() - HOUR, "calibrated", type="two-point"))
    assert answer == {"accepted": 1, "duplicate": 0, "rejected": 0, "items": [{"status": "accepted"}]}
    (first, warm_up), (second, worn) = await states(cgm)
    assert (first, second) == ("not-calibrated", "calibrated")
    assert warm_up != worn
    sensor = (await cgm.get("/devices/cgm/sensors/glucose")).json()
    assert (sensor["metricId"], sensor["calibration"]["type"]) == (worn, "two-point")


async def test_a_calibration_without_change_of_state_makes_a_version(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    await report(cgm, event(clock() - 2 * HOUR, "calibrated"))
    await report(cgm, event(clock() - HOUR, "calibrated", type="offset"))
    assert len({metric for _, metric in await states(cgm)}) == 2
    rows = await core.pool.fetch(
        "SELECT version, calibration_type FROM epoch WHERE patient_id = $1 ORDER BY from_ms", patient_id
    )
    assert [tuple(row) for row in rows] == [(1, None), (2, "offset")]
    former = await core.pool.fetchrow("SELECT * FROM epoch_version WHERE patient_id = $1", patient_id)
    assert (former["version"], former["calibration_state"], former["calibration_type"]) == (1, "calibrated", None)


async def test_an_older_calibration_changes_no_version(cgm: Client, clock: Clock, core: Core, patient_id: UUID) -> None:
    await report(cgm, event(clock() - 3 * HOUR, "calibrated"), event(clock() - HOUR, "calibrated"))
    await report(cgm, event(clock() - 2 * HOUR, "calibrated"))
    assert await core.pool.fetchval("SELECT sum(version) FROM epoch WHERE patient_id = $1", patient_id) == 2


async def test_repeats_and_bad_events_are_answered_one_by_one(cgm: Client, clock: Clock) -> None:
    good = event(clock() - HOUR, "calibrated")
    await report(cgm, good)
    bad = [
        ({"time": "2026-09-30T23:59:59Z", "state": "calibrated"}, "before-start"),
        (event(clock() + HOUR, "calibrated"), "future"),
        (event(clock() - HOUR, "calibration-required"), "conflict"),
        ({"time": START, "state": "calibrated"}, "conflict"),
        (event(clock(), "fine"), "invalid"),
        ("x", "invalid"),
        (good | {"by": "me"}, "unknown-member"),
    ]
    answer = await report(cgm, good, *(item for item, _ in bad), event(clock(), "unspecified"))
    assert (answer["accepted"], answer["duplicate"], answer["rejected"]) == (1, 1, len(bad))
    assert [item["reason"] for item in answer["items"][1:-1]] == [reason for _, reason in bad]


async def test_two_events_that_contradict_each_other_in_one_request(cgm: Client, clock: Clock) -> None:
    at = clock() - HOUR
    answer = await report(cgm, event(at, "calibrated"), event(at, "calibration-required"), event(at, "calibrated"))
    assert [item["status"] for item in answer["items"]] == ["accepted", "rejected", "duplicate"]


async def test_a_late_event_cuts_what_is_stored(cgm: Client, clock: Clock, core: Core, patient_id: UUID) -> None:
    first = clock() - clock() % DAY - 3 * DAY
    await report(cgm, event(first, "calibrated"))
    await send(cgm, first, 2 * 288 + 100)
    before = await chunks(core, patient_id)
    assert [row[:3] for row in before if row[0] == 1] == [(1, 0, "f"), (1, 1, "f"), (1, 2, "p")]
    await report(cgm, event(first + DAY + DAY // 2, "calibration-required"))
    after = [row for row in await chunks(core, patient_id) if row[0]]
    # cut within chunk 1; chunk 2 is withdrawn, because its readings belong to the new DeviceMetric
    assert after[:3] == [(1, 0, "f", 1, 288), (1, 1, "a", 2, 144), (1, 2, "e", 2, 0)]
    assert after[3:] == [(2, 0, "p", 1, 244)]


async def test_events_in_any_order_give_the_same_record(
    cgm: Client, stranger: Client, clock: Clock, core: Core
) -> None:
    await put_device(stranger, "cgm", **CGM)
    await put_sensor(stranger, "cgm", "glucose", calibration={"state": "not-calibrated"})
    first = clock() - 3 * DAY
    names = ("calibrated", "calibration-required", "calibrated", "unspecified", "calibrated")
    events = [event(first + at * 7 * HOUR, state) for at, state in enumerate(names)]
    for client, order in ((cgm, (0, 1, 2, 3, 4)), (stranger, (4, 1, 3, 0, 2))):
        for at in order:
            await report(client, events[at])
            await send(client, first + at * 7 * HOUR, 84)
    one, other = await record(core, cgm), await record(core, stranger)
    assert one == other
    assert [state for _, _, state, *_ in one] == ["not-calibrated", *names]


async def record(core: Core, client: Client) -> list[tuple[Any, ...]]:
    """What is stored for the patient of `client`, without its history."""
    token = client.headers["authorization"].removeprefix("Bearer ")
    rows = await core.pool.fetch(
        """SELECT from_ms, until_ms, calibration_state, k, start_ms, times, vals
             FROM epoch e LEFT JOIN chunk c ON c.patient_id = e.patient_id AND c.epoch_no = e.epoch_no AND filled > 0
            WHERE e.patient_id = $1 ORDER BY from_ms, k""",
        await core.pool.fetchval("SELECT patient_id FROM gateway_token WHERE token_sha256 = $1", sha256(token)),
    )
    return [tuple(row) for row in rows]


async def test_measurements_of_a_dedicated_sensor_follow_a_late_event(client: Client, clock: Clock) -> None:
    await put_device(client, "meter")
    sensor = {"code": "2339-0", "samplingPeriodMs": None, "calibration": {"state": "calibrated"}}
    await put_sensor(client, "meter", "s", **sensor)
    path = "/measurements/a"
    assert (await client.put(path, json=glucose(sensor="s"))).status_code == 201
    late = {"calibrations": [{"time": "2026-11-20T09:00:00Z", "state": "calibration-required"}]}
    assert (await client.post("/devices/meter/sensors/s/calibrations", json=late)).status_code == 200
    again = (await client.put(path, json=glucose(sensor="s"))).json()
    assert (again["result"], again["version"], again["status"]) == ("unchanged", 2, "amended")


async def test_a_sensor_without_calibration_takes_no_events(client: Client, clock: Clock) -> None:
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    body = {"calibrations": [event(clock(), "calibrated")]}
    answer = await client.post(CALIBRATIONS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "not-calibrated")
    assert (await client.get(CALIBRATIONS)).status_code == 409


@pytest.mark.parametrize("body", [{}, {"calibrations": []}, {"calibrations": {}}, {"events": []}])
async def test_a_malformed_request_is_refused_as_a_whole(cgm: Client, body: dict[str, Any]) -> None:
    assert (await cgm.post(CALIBRATIONS, json=body)).status_code == 422


async def test_strangers_find_nothing(cgm: Client, stranger: Client, clock: Clock) -> None:
    body = {"calibrations": [event(clock(), "calibrated")]}
    assert (await stranger.post(CALIBRATIONS, json=body)).status_code == 404
    assert (await stranger.get(CALIBRATIONS)).status_code == 404


async def test_a_calibration_sent_in_error_is_taken_back(
    cgm: Client, core: Core, clock: Clock, patient_id: UUID
) -> None:
    change = clock() - 2 * HOUR
    await send(cgm, clock() - 4 * HOUR, 48)
    await report(cgm, event(change, "calibrated"))
    assert [epoch for epoch, *_ in await chunks(core, patient_id) if _[1] != "e"].count(1) == 1
    path = f"{CALIBRATIONS}/{date_time(change)}"
    for _ in range(2):
        assert (await cgm.delete(path)).status_code == 204
    assert [state for state, _ in await states(cgm)] == ["not-calibrated"]
    found = await core.pool.fetch(
        """SELECT e.withdrawn, c.status, c.filled FROM epoch e JOIN chunk c USING (patient_id, epoch_no)
            WHERE patient_id = $1 AND (c.filled > 0 OR e.withdrawn) ORDER BY e.epoch_no, c.k""",
        patient_id,
    )
    assert sum(row["filled"] for row in found if not row["withdrawn"]) == 48
    assert {row["status"] for row in found if row["withdrawn"]} == {"e"}
    (again,) = (await report(cgm, event(change, "calibrated")))["items"]
    assert (again["status"], again["reason"]) == ("rejected", "deleted")
    assert (await report(cgm, event(change, "calibration-required")))["accepted"] == 1
    await send(cgm, clock() - HOUR, 1)
    recorded = "SELECT count(*) FROM audit WHERE patient_id = $1 AND event = 'gateway:calibration:taken-back'"
    assert await core.pool.fetchval(recorded, patient_id) == 1


async def test_what_is_no_calibration_cannot_be_taken_back(cgm: Client, clock: Clock) -> None:
    assert (await cgm.delete(f"{CALIBRATIONS}/{date_time(clock())}")).status_code == 404
    assert (await cgm.delete(f"{CALIBRATIONS}/yesterday")).status_code == 422
    answer = await cgm.delete(f"{CALIBRATIONS}/{START}")  # the registration's own; it will never be taken back
    assert (answer.status_code, answer.json()["code"], answer.json()["retry"]) == (409, "conflict", False)
