"""Any uploads, events, repeats, crashes and concurrent clients lead to the record of a naive model (rule 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import UUID, uuid4

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
from ddr.fhir.outcome import FhirError
from ddr.gateway import calibrations, devices, readings, sensors
from ddr.gateway.problem import Problem
from ddr.http.core import Core
from ddr.series.epoch import Epoch
from ddr.series.packing import ERROR, HIGH, LOW
from ddr.series.reading import Rules
from ddr.series.view import ChunkView, view
from ddr.store.database.ids import Kind
from ddr.store.series.chunks import write
from ddr.store.series.sensors import Remembered, SensorKey
from tests.gateway.conftest import CGM
from tests.gateway.record_model import DAY, HOUR, MINUTE, PERIOD, Model, order_of_arrival, stored_record
from tests.gateway.record_search import Query, Reader, queries
from tests.support.budget import budget, limited
from tests.support.clock import Clock
from tests.support.loop import Loop, Run

T = TypeVar("T")
Batch = list[tuple[int, int]]

BUDGET = budget(examples=60)  # each takes a tenth of a second
START = 1_795_000_000_000
STATES = ("not-calibrated", "calibrated", "calibration-required", "unspecified")
DELAY = 15 * MINUTE


class Crash(Exception):
    """The process dies in the middle of a transaction."""


@contextmanager
def crashing(writes: int) -> Iterator[None]:
    """Let the transaction fail after it has written this many series."""
    left = writes

    async def failing(*arguments: Any) -> None:
        nonlocal left
        await write(*arguments)
        left -= 1
        if left < 0:
            raise Crash

    with patch("ddr.store.series.merging.write", failing), patch("ddr.store.series.recut.write", failing):
        yield


# minutes from the start: on the grid, beside it, before the start, and runs as gateways send them
minutes = st.integers(-10, 12 * 60)
times = st.one_of(
    minutes.map(lambda minute: START + minute * MINUTE),
    st.integers(0, 140).map(lambda slot: START + slot * (PERIOD - 2000)),
    st.integers(0, 12 * HOUR).map(lambda offset: START + offset),
)
runs = st.tuples(st.integers(0, 140), st.integers(1, 40)).map(
    lambda run: [(START + (run[0] + at) * PERIOD, 100 + at) for at in range(run[1])]
)
instants = st.one_of(times, st.integers(0, 40 * 60).map(lambda minute: START + HOUR + minute * MINUTE))
values = st.sampled_from((98, 99, 100, 115, 120, LOW, HIGH, ERROR))
WORDS = {LOW: "L", HIGH: "U", ERROR: "E"}
LIMITS = ({"lower": 99}, {"lower": 99, "upper": 110})  # the states as they become known
batches = st.one_of(runs, st.lists(st.tuples(times, values), min_size=1, max_size=12))
events = st.lists(st.tuples(times, st.sampled_from(STATES), st.sampled_from((None, "offset"))), min_size=1, max_size=3)


class RecordMachine(RuleBasedStateMachine):
    """Two workers, A and B, of one recorder, and one sensor of a new patient."""

    core: Core
    run: Run[Any]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(START + HOUR)
        self.patient_id = uuid4()
        self.workers = [replace(self.core, clock=self.clock, steer=self.clock, sensors=Remembered()) for _ in range(2)]
        self.model = Model(START)
        self.device_start_ms = START
        self.limits: dict[str, int] = {}
        self.sent: Batch = []
        self.seen: dict[tuple[int, int], ChunkView] = {}
        self.polled: dict[tuple[int, int], ChunkView] = {}
        self.beside: dict[Kind, dict[int, Any]] = {Kind.DEVICE: {}, Kind.METRIC: {}}
        self.polled_ms = 0
        self.at_once = False

    @initialize()
    def register(self) -> None:
        self.run(register(self.workers[0], self.patient_id))

    def send(self, worker: int, batch: Batch) -> Any:
        """The response to an upload."""
        return self.run(upload(self.workers[worker], self.patient_id, batch))

    @rule(worker=st.integers(0, 1), batch=batches)
    def upload(self, worker: int, batch: Batch) -> None:
        answer = self.send(worker, batch)
        self.check_answer(batch, answer)
        self.take(self.measured(batch))

    @rule(worker=st.integers(0, 1), batch=batches, key=st.sampled_from("abc"))
    def upload_with_key(self, worker: int, batch: Batch, key: str) -> None:
        try:
            self.run(upload(self.workers[worker], self.patient_id, batch, upload=key))
        except Problem as problem:
            assert (problem.code, key in self.model.deleted) == ("deleted", True)
        else:
            self.model.uploads.setdefault(key, set()).update(self.measured(batch))
            self.take(self.measured(batch))

    @rule(worker=st.integers(0, 1), batch=batches, key=st.sampled_from((None, "a", "d")))
    def correct(self, worker: int, batch: Batch, key: str | None) -> None:
        members: dict[str, Any] = {"correction": True} if key is None else {"correction": True, "upload": key}
        try:
            self.run(upload(self.workers[worker], self.patient_id, batch, **members))
        except Problem as problem:
            assert (problem.code, key in self.model.deleted) == ("deleted", True)
            return
        batch = self.measured(batch)
        if key is not None and batch:
            self.model.uploads.setdefault(key, set()).update(dict(batch).items())
        self.sent += [reading for reading in dict(batch).items() if self.model.takes(reading[0])]
        self.model.correct(batch)

    @precondition(lambda self: self.model.uploads)
    @rule(worker=st.integers(0, 1), data=st.data())
    def take_back(self, worker: int, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.uploads)))
        self.run(readings.delete_upload(self.workers[worker], SensorKey(self.patient_id, "cgm", "s"), key))
        self.model.take_back(key)

    @precondition(lambda self: self.sent)
    @rule(worker=st.integers(0, 1), data=st.data())
    def upload_again(self, worker: int, data: st.DataObject) -> None:
        before = self.run(stored_record(self.core.pool, self.patient_id))
        known = self.model.counting() | self.model.gone()
        sent = [reading for reading in self.sent if reading in known]
        if not sent:
            return
        batch = data.draw(st.lists(st.sampled_from(sent), min_size=1, max_size=30))
        assert self.send(worker, batch)["accepted"] == 0
        assert self.run(stored_record(self.core.pool, self.patient_id)) == before

    @rule(first=batches, second=batches, event=events)
    def two_clients_at_once(self, first: Batch, second: Batch, event: list[Any]) -> None:
        a, b = self.workers
        self.at_once = True

        async def both() -> Any:
            return await asyncio.gather(
                self.polls(0),
                upload(a, self.patient_id, first),
                upload(b, self.patient_id, second),
                report(b, self.patient_id, event),
                upload(b, self.patient_id, first),
            )

        *answers, again = [answer for answer in self.run(both())[1:] if "early" not in answer]
        first, second = self.measured(first), self.measured(second)
        new = {reading for reading in [*first, *second] if self.model.takes(reading[0])}
        new -= self.model.counting() | self.model.gone()
        answers = [answers[0], answers[1], again]
        assert sum(answer["accepted"] for answer in answers) == len(new)
        self.take(first + second)
        self.take_events(event)
        came = self.run(order_of_arrival(self.core.pool, self.patient_id))  # either of them may have been first
        assert {time: sorted(raws) for time, raws in self.model.order.items()} == {
            time: sorted(raws) for time, raws in came.items()
        }
        self.model.order = came

    @rule(worker=st.integers(0, 1), event=events)
    def calibrate(self, worker: int, event: list[Any]) -> None:
        answer = self.run(report(self.workers[worker], self.patient_id, event))
        assert [item["status"] for item in answer["items"]] == self.take_events(event)

    @rule(worker=st.integers(0, 1), batch=batches, event=events, writes=st.integers(0, 2), calibration=st.booleans())
    def crash(self, worker: int, batch: Batch, event: list[Any], writes: int, calibration: bool) -> None:
        """A transaction that fails leaves nothing behind; what was answered before stays."""
        self.workers[worker] = replace(self.workers[worker], sensors=Remembered())
        with crashing(writes):
            try:
                if calibration:
                    self.run(report(self.workers[worker], self.patient_id, event))
                    self.take_events(event)
                else:
                    self.send(worker, batch)
                    self.take(self.measured(batch))
            except Crash:
                return

    @precondition(lambda self: len(self.model.events) > 1)
    @rule(worker=st.integers(0, 1), data=st.data())
    def take_back_calibration(self, worker: int, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from(sorted(self.model.events)[1:]))
        for _ in range(2):
            time = date_time(at)
            self.run(
                calibrations.delete_calibration(self.workers[worker], SensorKey(self.patient_id, "cgm", "s"), time)
            )
        self.model.withdrawn.add((at, self.model.events.pop(at)[0]))

    @rule(worker=st.integers(0, 1), at=times)
    def complete(self, worker: int, at: int) -> None:
        at = min(at, self.clock())
        self.run(post(readings.post_complete, self.workers[worker], self.patient_id, {"until": date_time(max(0, at))}))

    @rule(minutes=st.sampled_from((1, 5, 30, 60, 60 * 30)))
    def wait(self, minutes: int) -> None:
        self.clock.advance(60 * minutes)

    @precondition(lambda self: self.model.ended_ms is None and len(self.sent) > 40)
    @rule(after=st.integers(0, 2 * HOUR))
    def end(self, after: int) -> None:
        last = max([time for time, _ in self.model.counting()] + [*self.model.events])
        ended = min(self.clock(), last + 1 + after)
        if ended <= last:
            return
        self.run(self.change_device(0, endedAt=date_time(ended)))
        self.model.ended_ms = ended

    @rule(
        worker=st.integers(0, 1), at=st.one_of(st.none(), times, st.integers(0, 5).map(lambda day: START + day * DAY))
    )
    def expire(self, worker: int, at: int | None) -> None:
        """The gateway corrects when the device expires: what was shown keeps its version and content."""
        members = {} if at is None else {"expirationDate": date_time(at)}
        self.run(self.change_device(worker, **members))

    async def change_device(self, worker: int, **members: Any) -> None:
        """Change the device, but not its start."""
        began = {"startedAt": date_time(self.device_start_ms)}
        await put_device(self.workers[worker], self.patient_id, **began | members)

    @precondition(lambda self: self.limits != LIMITS[-1] and not self.model.deleted)
    @rule(worker=st.integers(0, 1), limits=st.sampled_from(LIMITS))
    def learn_limits(self, worker: int, limits: dict[str, int]) -> None:
        """The limits of the sensor become known, one after the other or together."""
        if self.limits.items() > limits.items():
            return
        self.run(put_sensor(self.workers[worker], self.patient_id, limits=limits))
        self.limits, self.at_once = limits, True  # a new version adds them to the same data
        self.model.learn(Rules("mg/dL", 0, limits["lower"], limits.get("upper")))
        self.sent = [(time, self.model.rules.within(raw)) for time, raw in self.sent]

    @rule(worker=st.integers(0, 1), minute=st.integers(-3 * 60, 4 * 60), of_device=st.booleans())
    def correct_start(self, worker: int, minute: int, of_device: bool) -> None:
        """The start of the sensor is corrected, by its own registration or, to a later time, by that of its device."""
        began = START + minute * MINUTE
        if began < self.device_start_ms or (of_device and began > self.model.start_ms):
            try:
                self.run(put_device(self.workers[worker], self.patient_id, startedAt=date_time(began)))
            except Problem as problem:
                assert (problem.code, self.model.begins_at(began)) == ("conflict", False)
                return
            self.device_start_ms = began
            if began > self.model.start_ms:
                assert self.model.begins_at(began)
                return
        try:
            self.run(put_sensor(self.workers[worker], self.patient_id, startedAt=date_time(began)))
        except Problem as problem:
            assert (problem.code, self.model.begins_at(began)) == ("conflict", False)
        else:
            assert self.model.begins_at(began)

    async def polls(self, worker: int) -> None:
        """Find what changed after the time before."""
        reader = Reader(self.workers[worker], self.patient_id, 0, DELAY)
        await reader.present()
        since_ms = self.polled_ms
        changed, self.polled_ms = await reader.found([("_lastUpdated", "gt", since_ms)])
        self.polled |= changed
        for kind, known in self.beside.items():
            known |= await reader.beside(kind, since_ms)

    @rule(worker=st.integers(0, 1))
    def poll(self, worker: int) -> None:
        """What a DiGA has found since the beginning, each time only changes, is everything."""
        self.run(self.polls(worker))
        assert self.polled == self.run(shown_chunks(self.core, self.patient_id, self.polled_ms))
        reader = Reader(self.workers[worker], self.patient_id, 0, DELAY)
        for kind, known in self.beside.items():
            there = self.run(reader.beside(kind))
            assert {no: known.get(no) for no in there} == there

    @rule(query=queries(instants), floor=st.one_of(st.just(0), times), which=st.integers(0, 1000))
    def search(self, query: Query, floor: int, which: int) -> None:
        """A DiGA finds and reads what is shown, as of the patient's present."""
        core = self.workers[0]
        reader = Reader(core, self.patient_id, floor, DELAY)
        shown = self.run(shown_chunks(core, self.patient_id, self.run(reader.present())))
        try:
            found, _ = self.run(reader.found(query))
        except FhirError:  # no instant is in all of the ranges
            return
        assert found == reader.expected(shown, query)
        starts = [chunk.start_ms for chunk in found.values()]
        assert starts == sorted(starts)
        keys = [*shown, *((no, k + 1) for no, k in shown)]
        if keys:
            no, k = keys[which % len(keys)]
            expected = shown.get((no, k))
            assert self.run(reader.read(no, k)) == (expected if expected and reader.sees(expected) else None)

    def take(self, batch: Batch) -> None:
        taken = [reading for reading in batch if self.model.takes(reading[0])]
        self.sent += taken
        self.model.take(taken)

    def take_events(self, batch: list[Any]) -> list[str]:
        """Take the events into the model; returns the expected statuses."""
        answers = []
        for time, state, kind in batch:
            known = self.model.events.get(time)
            back = known is None and (time, state) in self.model.withdrawn
            if back or not self.model.takes(time) or known not in (None, (state, kind)):
                answers.append("rejected")
                continue
            self.model.events[time] = (state, kind)
            answers.append("accepted" if known is None else "duplicate")
        return answers

    def measured(self, batch: Batch) -> Batch:
        """What is stored of it."""
        return [reading for reading in self.model.measured(batch) if reading is not None]

    def check_answer(self, batch: Batch, answer: dict[str, Any]) -> None:
        left, gone = set(self.measured(batch)) - self.model.counting(), self.model.gone()
        for reading, item in zip(self.model.measured(batch), answer["items"], strict=True):
            if reading is None or not self.model.takes(reading[0]) or reading in gone:
                assert item["status"] == "rejected"
            else:
                assert item["status"] == ("accepted" if reading in left else "duplicate")
                left.discard(reading)

    @invariant()
    def the_record_is_that_of_the_model(self) -> None:
        stored = self.run(stored_record(self.core.pool, self.patient_id))
        if stored:
            assert stored == self.model.record()

    @invariant()
    def versions_follow_what_is_shown(self) -> None:
        shown = self.run(shown_chunks(self.core, self.patient_id, self.clock()))
        for key, before in self.seen.items():
            assert key in shown, "an id that was shown is gone"
            after = shown[key]
            same = replace(before, version=after.version, updated_ms=after.updated_ms) == after
            if not same or not self.at_once:  # two simultaneous changes may have restored the former state
                assert (after.version == before.version) == same
            assert after.version >= before.version
            assert after.updated_ms >= before.updated_ms
            assert not (before.status in ("final", "amended") and after.status == "preliminary")
        self.seen, self.at_once = shown, False


async def register(core: Core, patient_id: UUID) -> None:
    """A patient with a sensor in warm-up since START, in chunks of an hour."""
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", patient_id)
    await put_device(core, patient_id)
    await put_sensor(core, patient_id)


async def put_sensor(core: Core, patient_id: UUID, **members: Any) -> None:
    """Register or change the sensor."""
    body = {
        "code": "99504-3",
        "unit": "mg/dL",
        "samplingPeriodMs": PERIOD,
        "bufferingSeconds": DAY // 1000,
        "calibration": {"state": "not-calibrated"},
    }
    await sensors.put_sensor(core, SensorKey(patient_id, "cgm", "s"), body | members)


async def put_device(core: Core, patient_id: UUID, **members: Any) -> None:
    """Register or change the device."""
    await devices.put_device(core, patient_id, "cgm", {**CGM, "startedAt": date_time(START), **members})


async def post(handler: Callable[..., Awaitable[Any]], core: Core, patient_id: UUID, body: Any) -> Any:
    """The content of the response."""
    return (await handler(core, SensorKey(patient_id, "cgm", "s"), body))[1]


async def upload(core: Core, patient_id: UUID, batch: Batch, **members: Any) -> Any:
    """Send readings."""
    items = [{"time": date_time(time), "value": WORDS.get(raw, raw)} for time, raw in batch]
    return await post(readings.post_readings, core, patient_id, {"unit": "mg/dL", "readings": items, **members})


async def report(core: Core, patient_id: UUID, batch: list[Any]) -> Any:
    """Send calibration events."""
    items = [{"time": date_time(time), "state": state, "type": kind} for time, state, kind in batch]
    return await post(calibrations.post_calibrations, core, patient_id, {"calibrations": items})


async def shown_chunks(core: Core, patient_id: UUID, now_ms: int) -> dict[tuple[int, int], ChunkView]:
    """Every chunk that a DiGA can read at `now_ms`, by epoch and number."""
    rows = await core.pool.fetch(
        """SELECT s.*, e.*, c.k, c.start_ms, c.last_ms, c.updated_ms, c.version, c.filled, c.status, c.times, c.vals,
                  s.ended_ms AS sensor_ended_ms, greatest(s.created_ms, e.created_ms) AS registered_ms,
                  d.ended_ms AS device_ended_ms, d.expiration_ms
             FROM epoch e JOIN sensor s USING (patient_id, sensor_no)
             JOIN device d ON d.patient_id = s.patient_id AND d.device_no = s.device_no
             LEFT JOIN chunk c ON c.patient_id = e.patient_id AND c.epoch_no = e.epoch_no
            WHERE e.patient_id = $1 ORDER BY e.epoch_no, c.k""",
        patient_id,
    )
    shown = {(row["epoch_no"], row["k"]): view(row, now_ms) for row in rows if row["k"] is not None}
    for row in {row["epoch_no"]: row for row in rows}.values():
        epoch = Epoch.of(row, DELAY)
        k = epoch.next_start()[0]
        while chunk := epoch.placeholder(k, now_ms):
            facts = {name: getattr(chunk, name) for name in chunk.__slots__}
            assert (row["epoch_no"], k) not in shown, "an id names two chunks"
            shown[row["epoch_no"], k] = view({**row, **facts}, now_ms)
            k += 1
    return shown


async def test_readings_after_withdrawn_chunks_follow_from_those_that_are_live(core: Core) -> None:
    """Withdrawn chunks stay when the first chunk moves; counting them made later chunks depend on the order."""
    clock, patient_id, model = Clock(START + 6 * HOUR), uuid4(), Model(START)
    terms = replace(core.settings, chunk_span_seconds=3600, gateway_future_seconds=10 * DAY)
    core = replace(core, settings=terms, clock=clock, steer=clock, sensors=Remembered())
    await register(core, patient_id)
    clock.advance(6 * 3600)
    expires_ms = START + HOUR + 1000
    await put_device(core, patient_id, expirationDate=date_time(expires_ms))  # what was missing after it is withdrawn
    before = await shown_chunks(core, patient_id, clock())
    assert [chunk.status for chunk in before.values()].count("entered-in-error") == 10
    batches: list[Batch] = [[(START + 23 * MINUTE, 100)], [(START + 285 * MINUTE, 101), (START + 295 * MINUTE, 102)]]
    for batch in batches:
        await upload(core, patient_id, batch)
        model.take(batch)
        assert await stored_record(core.pool, patient_id) == model.record()
    after = await shown_chunks(core, patient_id, clock())
    more = [after[key].version - chunk.version for key, chunk in before.items()]
    assert more == [2, 2, 1, 1, 1] + [0] * 7  # the second one moved behind the expiry and was withdrawn in between


@limited
def test_the_record_is_that_of_the_model(core: Core, loop: Loop) -> None:
    terms = replace(core.settings, chunk_span_seconds=3600, gateway_future_seconds=10 * DAY)
    members = {"core": replace(core, settings=terms), "run": staticmethod(loop.run)}
    run_state_machine_as_test(type("Machine", (RecordMachine,), members), settings=BUDGET)
