"""Accepts calibration events: POST and GET …/calibrations (HDDT retrieving-data.md, Change of calibrationStatus)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import asyncpg

from ddr.aside import aside
from ddr.gateway.bounds import MOST_CALIBRATIONS, MOST_EPOCHS, full
from ddr.gateway.fields import Fields, items_of
from ddr.gateway.problem import Problem, conflict, invalid, not_found
from ddr.gateway.registration import STATES, TYPES
from ddr.gateway.replacement import show
from ddr.gateway.writing import at, writing
from ddr.http.core import Core
from ddr.series.calibration import Event, segments
from ddr.store.audit.trail import Event as AuditEvent
from ddr.store.audit.trail import record
from ddr.store.database.pool import Connection, Row
from ddr.store.devices import devices as store
from ddr.store.devices import starts
from ddr.store.series import calibrations
from ddr.store.series.sensors import SensorKey

Item = dict[str, Any]

LARGE_EVENTS = 500  # each takes some 10 us to parse and to decide

ACCEPTED: Item = {"status": "accepted"}
DUPLICATE: Item = {"status": "duplicate"}
TAKEN_BACK = Problem(409, "deleted", "This calibration was taken back and is not accepted again")
CONTRADICTION = Problem(409, "conflict", "Another calibration is stored for this instant")


async def post_calibrations(core: Core, key: SensorKey, body: Any) -> tuple[int, dict[str, Any]]:
    """Store calibration events, in any order, and answer each: accepted, duplicate, or rejected with a reason.

    A change of state ends the running chunk and begins a new DeviceMetric with its own series (SER-008, SER-009); a
    calibration that does not change the state gives the DeviceMetric a new version. Raises Problem 404, 409, 413, 422.
    """
    latest_ms = core.clock() + core.settings.gateway_future_seconds * 1000
    items = items_of(body, "calibrations", core.settings.gateway_max_items)
    large = len(items) > LARGE_EVENTS
    parsed = await aside(large, lambda: [_read(item, latest_ms) for item in items])
    async with writing(core, key.patient_id) as (conn, now):
        sensor = await _calibrated_sensor(conn, key)
        await store.note_heard(conn, key.patient_id, [sensor["device_no"]], now)
        known, gone = await _known(conn, sensor)
        answers, new = await aside(large, decide, parsed, sensor, known, gone)
        if new:
            await aside(large, _check_room, [*known, *new], len(gone), sensor)
            await _store(core, conn, sensor, new, now)
    counts = Counter(answer["status"] for answer in answers)
    return 200, {name: counts[name] for name in ("accepted", "duplicate", "rejected")} | {"items": answers}


async def begin_with(
    core: Core, conn: asyncpg.Connection, sensor: Row, started_ms: int, first: Item, events: Sequence[Item], now_ms: int
) -> None:
    """Let a sensor begin at `started_ms` in the state of `first`, with those of `events` that can be stored.

    In the caller's transaction. `started_ms` is not after the sensor's current start. Raises Problem 409.
    """
    await starts.begin_sensor(conn, sensor["patient_id"], sensor["sensor_no"], started_ms)
    sensor = await calibrations.register(conn, {**sensor, "started_ms": started_ms}, first)
    latest_ms = now_ms + core.settings.gateway_future_seconds * 1000
    large = len(events) > LARGE_EVENTS
    parsed = await aside(large, lambda: [_read(item, latest_ms) for item in events])
    known, gone = await _known(conn, sensor)
    _, new = await aside(large, decide, parsed, sensor, known, gone)
    await aside(large, _check_room, [*known, *new], len(gone), sensor)
    await _store(core, conn, sensor, new, now_ms)


async def _known(conn: asyncpg.Connection, sensor: Row) -> tuple[list[Event], set[tuple[int, str]]]:
    """The events of a sensor, that of its registration first; time and state of those that were taken back."""
    patient_id, number = sensor["patient_id"], sensor["sensor_no"]
    events = await calibrations.events_of(conn, patient_id, number)
    return [calibrations.registered(sensor), *events], await calibrations.taken_back(conn, patient_id, number)


async def _store(core: Core, conn: asyncpg.Connection, sensor: Row, new: Sequence[Event], now_ms: int) -> None:
    """Store new events of a sensor, and adapt its epochs and what is shown of it."""
    patient_id, number = sensor["patient_id"], sensor["sensor_no"]
    device = await store.find_device(conn, patient_id, sensor["device_key"])
    assert device is not None
    await calibrations.insert_events(conn, patient_id, number, new, now_ms)
    await calibrations.apply_events(conn, patient_id, number, now_ms, *_terms(core, sensor, now_ms))
    await show(core, conn, device, sensor, now_ms)


async def delete_calibration(core: Core, key: SensorKey, time: str) -> tuple[int, None]:
    """Take back the calibration of this instant, which was sent in error; what is stored is cut anew.

    Repeating it changes nothing. Raises Problem 404, 409 or 422.
    """
    fields = Fields({"time": time})
    time_ms = fields.need("time", lambda name: fields.instant(name))
    patient_id = key.patient_id
    async with writing(core, patient_id) as (conn, now):
        sensor = await _calibrated_sensor(conn, key)
        number = sensor["sensor_no"]
        if await calibrations.take_back(conn, patient_id, number, time_ms, now):
            await calibrations.apply_events(conn, patient_id, number, now, *_terms(core, sensor, now))
            await record(conn, AuditEvent.CALIBRATION_TAKEN_BACK, now, patient_id=patient_id)
        elif time_ms == sensor["started_ms"]:
            raise conflict("The calibration that the sensor was registered with cannot be taken back")
        elif not any(at_ms == time_ms for at_ms, _ in await calibrations.taken_back(conn, patient_id, number)):
            raise not_found("calibration")
    return 204, None


async def get_calibrations(core: Core, key: SensorKey) -> tuple[int, Item]:
    """The calibration history of a sensor, oldest first, beginning with its registration."""
    sensor = await _calibrated_sensor(core.pool, key)
    events = await calibrations.events_of(core.pool, key.patient_id, sensor["sensor_no"])
    epochs = await store.epochs_of(core.pool, key.patient_id, sensor["sensor_no"])
    return 200, {
        "calibrations": [_describe(core, event, epochs) for event in (calibrations.registered(sensor), *events)]
    }


def _check_room(events: list[Event], gone: int, sensor: Row) -> None:
    """Raises Problem 409 when the sensor would have too many calibrations, or too many changes of its state.

    Those that were taken back (`gone`) count, too, because each may have left a DeviceMetric, which keeps its id.
    """
    if len(events) + gone > MOST_CALIBRATIONS + 1:
        raise full(MOST_CALIBRATIONS, "calibrations of a sensor")
    if len(segments(sorted(events, key=lambda event: event.time_ms), sensor["ended_ms"])) + gone > MOST_EPOCHS:
        raise full(MOST_EPOCHS, "changes of a sensor's calibration state")


async def _calibrated_sensor(conn: Connection, key: SensorKey) -> Row:
    """The sensor as in `sensor_states`.

    Raises Problem 404, or 409 for a sensor without calibration: its Observations refer to the Device (OBS-023).
    """
    sensor = await store.sensor_state(conn, *key)
    if sensor is None:
        raise not_found("sensor")
    if not sensor["calibrated_device"]:
        raise conflict("This sensor was registered without calibration", "not-calibrated")
    return sensor


def _read(item: Any, latest_ms: int) -> Event | Problem:
    try:
        fields = Fields(item, name="calibration")
        event = Event(
            fields.need("time", lambda name: fields.instant(name, latest_ms)),
            fields.need("state", lambda name: fields.choice(name, STATES)),
            fields.choice("type", TYPES),
            fields.instant_text("time"),
        )
        fields.done()
    except Problem as problem:
        return problem.kept()
    return event


def decide(
    parsed: list[Event | Problem], sensor: Row, known: list[Event], gone: Collection[tuple[int, str]] = ()
) -> tuple[list[Item], list[Event]]:
    """The answer to each event, and the events to store. Two that contradict each other at one instant are never
    stored, nor are those in `gone` (time and state), which were taken back."""
    at_time = {event.time_ms: event for event in known}
    answers: list[Item] = []
    new: list[Event] = []
    for event in parsed:
        if isinstance(event, Problem):
            answers.append(_rejected(event))
        elif (problem := _refusal(event, sensor, at_time.get(event.time_ms))) is not None:
            answers.append(_rejected(problem))
        elif event.time_ms in at_time:
            answers.append(DUPLICATE)
        elif (event.time_ms, event.state) in gone:
            answers.append(_rejected(TAKEN_BACK))
        else:
            at_time[event.time_ms] = event
            new.append(event)
            answers.append(ACCEPTED)
    return answers, new


def _rejected(problem: Problem) -> Item:
    return {"status": "rejected", **problem.item()}


def _refusal(event: Event, sensor: Row, same_time: Event | None) -> Problem | None:
    """Why an event cannot be stored, or None; `same_time` is the known event of its instant."""
    if event.time_ms < sensor["started_ms"]:
        return invalid("time", "is before the start of the sensor", "before-start")
    if sensor["ended_ms"] is not None and event.time_ms >= sensor["ended_ms"]:
        return invalid("time", "is not before the end of the sensor", "after-end")
    if same_time is not None and (same_time.state, same_time.type) != (event.state, event.type):
        return CONTRADICTION
    return None


def _terms(core: Core, sensor: Row, now_ms: int) -> tuple[int, int]:
    """Delay-From-Real-Time of the sensor's MIV, and where its Historic-Data-Period begins."""
    return core.catalog.delay_ms(sensor["miv_url"]), core.catalog.floor_ms(sensor["miv_url"], now_ms)


def _describe(core: Core, event: Event, epochs: list[Row]) -> Item:
    """An event with the DeviceMetric that it belongs to."""
    number = next(epoch["epoch_no"] for epoch in reversed(epochs) if epoch["from_ms"] <= event.time_ms)
    found = {"time": event.text or at(event.time_ms), "state": event.state, "type": event.type}
    return {name: value for name, value in found.items() if value} | {"metricId": core.ids.metric(number)}
