"""Sensors passed from hand to hand: two patients with two phones each, the same serial numbers, several periods.

Whoever wears a sensor, under whatever key a phone registers it and whenever its readings arrive: each reading is stored
once, for the patient and the sensor for which it was sent, and nowhere else.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.series.chain import cut
from ddr.series.grid import Grid
from ddr.series.packing import encode
from ddr.series.slots import winners
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.series.sensors import Remembered
from tests.gateway.conftest import CGM, Client, make_client
from tests.gateway.record_model import HOUR, MINUTE
from tests.gateway.test_record_machine import shown_chunks
from tests.support.budget import budget, limited
from tests.support.clock import Clock
from tests.support.loop import Loop, Run

BUDGET = budget(examples=20)
MOST_DEVICES = 3  # per patient, so that more happens to each
CHANGE_OF_CLOCKS = 1_792_890_000_000  # 2026-10-25T01:00:00Z, when 03:00 in Germany becomes 02:00
START = CHANGE_OF_CLOCKS - 3 * HOUR
SPAN = HOUR
PERIODS = (MINUTE, 5 * MINUTE, 15 * MINUTE)
TOLERANCE = 300_000
ZONES = (UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=1)))


@dataclass
class Sensor:
    """A sensor as a phone has registered it, in use within [start_ms, end_ms)."""

    key: str
    period_ms: int
    start_ms: int
    end_ms: int | None = None
    readings: set[tuple[int, int]] = field(default_factory=set)

    def refuses(self, time_ms: int) -> str | None:
        """Why a reading of this instant does not belong to it."""
        if time_ms < self.start_ms:
            return "before-start"
        return "after-end" if self.end_ms is not None and time_ms >= self.end_ms else None

    def last_ms(self) -> int:
        """Its last reading."""
        return max((time for time, _ in self.readings), default=-1)

    def chunks(self) -> list[tuple[int, bytes, bytes]]:
        """Its chunks, up to the last one with a reading."""
        grid = Grid(self.start_ms, self.period_ms, SPAN, self.end_ms)
        parts = cut(sorted(self.readings), grid)
        return [(part.start_ms, *encode(part.readings, part.start_ms, self.period_ms)) for part in parts]

    def shown(self) -> set[tuple[int, int]]:
        """What a DiGA sees of it: time of the slot, and value."""
        grid = Grid(self.start_ms, self.period_ms, SPAN, self.end_ms)
        return {
            (part.start_ms + slot * self.period_ms, raw)
            for part in cut(sorted(self.readings), grid)
            for slot, (_, raw) in winners(part.readings, part.start_ms, self.period_ms).items()
        }


@dataclass
class Device:
    """A device as a phone has registered it."""

    key: str
    serial: str
    start_ms: int
    end_ms: int | None = None
    sensors: list[Sensor] = field(default_factory=list)

    def last_ms(self) -> int:
        """The last reading of all its sensors."""
        return max(sensor.last_ms() for sensor in self.sensors)

    def end(self, at_ms: int) -> None:
        """The device is no longer in use, nor are its sensors."""
        self.end_ms = at_ms
        for sensor in self.sensors:
            sensor.end_ms = at_ms if sensor.end_ms is None else min(sensor.end_ms, at_ms)


def measured(serial: str, time_ms: int) -> int:
    """What this sensor measured then: an instant has one value, however often it is sent."""
    return 80 + (time_ms // 1000 * 7 + ord(serial)) % 180


def written(time_ms: int, zone: Any) -> str:
    """An instant as a phone in this zone writes it; in the hour of the change only the offset tells two apart."""
    return datetime.fromtimestamp(time_ms / 1000, zone).isoformat(
        timespec="milliseconds" if time_ms % 1000 else "seconds"
    )


offsets = st.one_of(
    st.tuples(st.integers(0, 360), st.just(MINUTE)).map(lambda one: one[0] * one[1]),
    st.integers(-HOUR, 8 * HOUR),
)
runs = st.tuples(st.integers(0, 6 * 60), st.integers(1, 30), st.sampled_from(PERIODS)).map(
    lambda run: [run[0] * MINUTE + at * run[2] for at in range(run[1])]
)
batches = st.one_of(runs, st.lists(offsets, min_size=1, max_size=12))
whose = st.integers(0, 1)
Parcel = tuple[int, int, int, list[int], Any, bool, bool]
"""Patient, phone, sensor, instants, zone, whether it is packed, and whether it has a key."""
parcels: st.SearchStrategy[Parcel] = st.tuples(
    whose, whose, st.integers(0, 11), batches, st.sampled_from(ZONES), st.booleans(), st.booleans()
)


class FamilyMachine(RuleBasedStateMachine):
    """Two patients, each with two phones, which reach one of two workers."""

    core: Core
    run: Run[Any]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(START + 9 * HOUR)
        self.patients = [uuid4(), uuid4()]
        self.devices: list[list[Device]] = [[], []]
        self.phones: list[list[Client]] = []
        self.last: tuple[Client, str, bytes, dict[str, str], Any] | None = None
        self.count = 0

    @initialize()
    def begin(self) -> None:
        workers = [replace(self.core, clock=self.clock, steer=self.clock, sensors=Remembered()) for _ in range(2)]
        for patient_id in self.patients:
            insert = "INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)"
            self.run(self.core.pool.execute(insert, patient_id))
            token = self.run(gateway_tokens.create(self.core.pool, patient_id, self.clock()))
            self.phones.append([make_client(worker, token) for worker in workers])
        for who, period in enumerate(PERIODS[:2]):
            self.register(who, 0, "A", period, 0, False)

    def teardown(self) -> None:
        for phone in (phone for phones in self.phones for phone in phones):
            self.run(phone.aclose())

    def put(self, who: int, phone: int, path: str, body: dict[str, Any]) -> Any:
        return self.run(self.phones[who][phone].put(path, json=body))

    def body_of(self, device: Device, **members: Any) -> dict[str, Any]:
        return {**CGM, "serialNumber": device.serial, "startedAt": date_time(device.start_ms), **members}

    def put_sensor(self, who: int, phone: int, device: Device, sensor: Sensor, **members: Any) -> Any:
        body = {
            "code": "99504-3",
            "unit": "mg/dL",
            "samplingPeriodMs": sensor.period_ms,
            "startedAt": date_time(sensor.start_ms),
            **members,
        }
        return self.put(who, phone, f"/devices/{device.key}/sensors/{sensor.key}", body)

    @precondition(lambda self: min(map(len, self.devices)) < MOST_DEVICES)
    @rule(
        who=whose,
        phone=whose,
        serial=st.sampled_from("AAB"),
        period=st.sampled_from(PERIODS),
        hours=st.integers(0, 5),
        takes_over=st.booleans(),
    )
    def put_on(self, who: int, phone: int, serial: str, period: int, hours: int, takes_over: bool) -> None:
        """A phone registers a sensor that is put on, possibly one that another phone or another patient had before."""
        if len(self.devices[who]) < MOST_DEVICES:
            self.register(who, phone, serial, period, hours, takes_over)

    def register(self, who: int, phone: int, serial: str, period: int, hours: int, takes_over: bool) -> None:
        known = [one for one in self.devices[who] if one.serial == serial and one.end_ms is None]
        self.count += 1
        device = Device(f"{serial}{self.count}", serial, START + hours * HOUR)
        sensor = Sensor("s0", period, device.start_ms)
        device.sensors.append(sensor)
        former = known[-1] if known and takes_over else None
        members = {} if former is None else {"replaces": former.key}
        answer = self.put(who, phone, f"/devices/{device.key}", self.body_of(device, **members))
        assert answer.status_code == 201, answer.text
        if former is not None:
            former.end(max(device.start_ms, former.last_ms() + 1, former.start_ms))
        others = [one.key for one in known if one is not former]
        assert ("warning" in answer.json()) == bool(others), answer.text
        assert self.put_sensor(who, phone, device, sensor).status_code == 201
        self.devices[who].append(device)

    def any_device(self, data: st.DataObject, who: int) -> Device:
        return data.draw(st.sampled_from(self.devices[who]))

    @rule(who=whose, phone=whose, data=st.data(), after=st.integers(-HOUR, HOUR))
    def take_off(self, who: int, phone: int, data: st.DataObject, after: int) -> None:
        device = self.any_device(data, who)
        ended_ms = max(device.last_ms(), device.start_ms) + after
        answer = self.put(who, phone, f"/devices/{device.key}", self.body_of(device, endedAt=date_time(ended_ms)))
        if ended_ms > self.clock() + TOLERANCE:
            assert (answer.status_code, answer.json()["code"]) == (422, "future")
        elif device.end_ms is not None:
            assert answer.status_code == (200 if ended_ms == device.end_ms else 409), answer.text
        elif ended_ms < device.start_ms:
            assert answer.status_code == 422, answer.text
        elif ended_ms <= device.last_ms():
            assert (answer.status_code, answer.json()["code"]) == (409, "readings-after-end")
        else:
            assert answer.status_code == 200, answer.text
            device.end(ended_ms)

    @rule(who=whose, phone=whose, data=st.data(), period=st.sampled_from(PERIODS), after=st.integers(0, HOUR))
    def change_period(self, who: int, phone: int, data: st.DataObject, period: int, after: int) -> None:
        """A firmware update: the former sensor ends after its last reading, and another one of that device begins."""
        device = self.any_device(data, who)
        former = device.sensors[-1]
        if period != former.period_ms:
            refused = self.put_sensor(who, phone, device, replace(former, period_ms=period))
            assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        change_ms = max(former.last_ms(), former.start_ms) + 1 + after
        sensor = Sensor(f"s{len(device.sensors)}", period, change_ms)
        if device.end_ms is not None or change_ms > self.clock() + TOLERANCE or len(device.sensors) > 5:
            return
        ended = self.put_sensor(who, phone, device, former, endedAt=date_time(change_ms))
        assert ended.status_code == 200, ended.text
        former.end_ms = change_ms
        assert self.put_sensor(who, phone, device, sensor).status_code == 201
        device.sensors.append(sensor)

    @rule(parcels=st.lists(parcels, min_size=2, max_size=8))
    def send(self, parcels: list[Parcel]) -> None:
        """Readings arrive in any order and as late as can be, from either phone, in the time of any zone."""
        for parcel in parcels:
            self.sends(*parcel)

    def sends(self, who: int, phone: int, which: int, batch: list[int], zone: Any, packed: bool, key: bool) -> None:
        sensors = [(device, sensor) for device in self.devices[who] for sensor in device.sensors]
        device, sensor = sensors[which % len(sensors)]
        times = [START + offset for offset in batch]
        items = [{"time": written(time, zone), "value": measured(device.serial, time)} for time in times]
        content = orjson.dumps({"unit": "mg/dL", "readings": items})
        headers = {"content-type": "application/json"}
        if packed:
            content, headers["content-encoding"] = gzip.compress(content, mtime=0), "gzip"
        if key:
            self.count += 1
            headers["idempotency-key"] = f"{self.count}"
        path = f"/devices/{device.key}/sensors/{sensor.key}/readings"
        answer = self.post(self.phones[who][phone], path, content, headers)
        told = [item.get("reason") if item["status"] == "rejected" else item["status"] for item in answer["items"]]
        assert told == [self.take(device, sensor, time) for time in times]
        self.last = self.phones[who][1 - phone], path, content, headers, answer

    def post(self, phone: Client, path: str, content: bytes, headers: dict[str, str]) -> Any:
        answer = self.run(phone.post(path, content=content, headers=headers))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def take(self, device: Device, sensor: Sensor, time_ms: int) -> str:
        """Take a reading into the model; returns the expected status."""
        if time_ms > self.clock() + TOLERANCE:
            return "future"
        if (why := sensor.refuses(time_ms)) is not None:
            return why
        reading = time_ms, measured(device.serial, time_ms)
        known = reading in sensor.readings
        sensor.readings.add(reading)
        return "duplicate" if known else "accepted"

    @precondition(lambda self: self.last is not None)
    @rule(other_key=st.booleans())
    def send_again(self, other_key: bool) -> None:
        """The response was lost: with the same key it is the same; with another key, or none, nothing is new."""
        assert self.last is not None
        phone, path, content, headers, before = self.last
        if "idempotency-key" in headers and not other_key:
            assert self.post(phone, path, content, headers) == before
            return
        self.count += 1
        again = self.post(phone, path, content, {**headers, "idempotency-key": f"{self.count}"})
        assert (again["accepted"], again["duplicate"]) == (0, before["accepted"] + before["duplicate"])

    @rule(hours=st.sampled_from((1, 30, 24 * 21)))
    def wait(self, hours: int) -> None:
        self.last = None  # what was too early then no longer is
        self.clock.advance(hours * 3600)

    @invariant()
    def each_reading_is_where_it_was_sent(self) -> None:
        for patient_id, devices in zip(self.patients, self.devices, strict=True):
            stored = self.run(stored_chunks(self.core, patient_id))
            wanted = {(d.key, s.key): s.chunks() for d in devices for s in d.sensors}
            assert stored == {key: chunks for key, chunks in wanted.items() if chunks}

    @invariant()
    def a_diga_sees_each_slot_once(self) -> None:
        for patient_id, devices in zip(self.patients, self.devices, strict=True):
            shown = self.run(shown_values(self.core, patient_id, self.clock()))
            assert shown == {(d.key, s.key): s.shown() for d in devices for s in d.sensors}

    @rule(who=whose, phone=whose)
    def installed_anew(self, who: int, phone: int) -> None:
        """A phone after a new installation asks what is there."""
        found = self.run(self.phones[who][phone].get("/devices")).json()["devices"]
        assert [(one["key"], one["serialNumber"], one["endedAt"]) for one in found] == [
            (one.key, one.serial, None if one.end_ms is None else date_time(one.end_ms)) for one in self.devices[who]
        ]


async def stored_chunks(core: Core, patient_id: UUID) -> dict[tuple[str, str], list[tuple[int, bytes, bytes]]]:
    """The chunks of each sensor that has a reading, without empty ones after its last reading."""
    rows = await core.pool.fetch(
        """SELECT d.device_key, s.sensor_key, c.start_ms, c.times, c.vals
             FROM chunk c JOIN epoch e USING (patient_id, epoch_no) JOIN sensor s USING (patient_id, sensor_no)
             JOIN device d ON d.patient_id = c.patient_id AND d.device_no = s.device_no
            WHERE c.patient_id = $1 AND c.status <> 'e' ORDER BY c.epoch_no, c.k""",
        patient_id,
    )
    found: dict[tuple[str, str], list[tuple[int, bytes, bytes]]] = {}
    for device, sensor, *chunk in rows:
        found.setdefault((device, sensor), []).append((chunk[0], chunk[1], chunk[2]))
    for chunks in found.values():
        while chunks and not chunks[-1][1]:
            chunks.pop()
    return {key: chunks for key, chunks in found.items() if chunks}


async def shown_values(core: Core, patient_id: UUID, now_ms: int) -> dict[tuple[str, str], set[tuple[int, int]]]:
    """The time of each slot with a value, and the value, by sensor; no slot has two."""
    rows = await core.pool.fetch(
        """SELECT e.epoch_no, d.device_key, s.sensor_key, s.period_ms
             FROM epoch e JOIN sensor s USING (patient_id, sensor_no)
             JOIN device d ON d.patient_id = e.patient_id AND d.device_no = s.device_no WHERE e.patient_id = $1""",
        patient_id,
    )
    sensors = {row["epoch_no"]: ((row["device_key"], row["sensor_key"]), row["period_ms"]) for row in rows}
    found: dict[tuple[str, str], list[tuple[int, int]]] = {key: [] for key, _ in sensors.values()}
    for (epoch_no, _), chunk in (await shown_chunks(core, patient_id, now_ms)).items():
        key, period_ms = sensors[epoch_no]
        words = enumerate((chunk.data or "").split())
        found[key] += [(chunk.start_ms + at * period_ms, int(word)) for at, word in words if word != "E"]
    for values in found.values():
        assert len(values) == len(set(values))
    return {key: set(values) for key, values in found.items()}


@limited
def test_each_reading_is_with_whom_it_was_measured(core: Core, loop: Loop) -> None:
    terms = replace(core.settings, chunk_span_seconds=SPAN // 1000, gateway_future_seconds=TOLERANCE // 1000)
    members = {"core": replace(core, settings=terms), "run": staticmethod(loop.run)}
    run_state_machine_as_test(type("Machine", (FamilyMachine,), members), settings=BUDGET)
