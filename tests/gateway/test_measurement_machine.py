"""Any uploads, corrections, deletions and repeats of single measurements, even concurrent ones, lead to the state of a
naive model, and a DiGA that asks only for changes ends with all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, TypeVar
from uuid import UUID, uuid4

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ddr.diga_api.resources import TYPES
from ddr.fhir.device import device_resource
from ddr.fhir.device_metric import device_metric_resource
from ddr.fhir.instants import date_time, instant
from ddr.fhir.observation_measurement import measurement_resource
from ddr.fhir.outcome import FhirError
from ddr.fhir.search.parsing import parse_search
from ddr.gateway import calibrations, devices, measurements, sensors
from ddr.gateway.problem import Problem
from ddr.http.core import Core
from ddr.store.database.ids import Kind
from ddr.store.database.pool import Row
from ddr.store.patients.retention import forget_readings
from ddr.store.search.conditions import Names
from ddr.store.search.pages import first_page
from ddr.store.search.reads import former_version, read
from ddr.store.search.view import Term, View
from ddr.store.series.sensors import SensorKey
from tests.diga_api.naive import FAR, Range, compare, date_range
from tests.gateway.conftest import METER
from tests.gateway.measurement_model import CODES, DAY, ERROR, Differs, Item, Measurement, Model
from tests.gateway.record_search import PREFIXES, Query, searched
from tests.support.budget import budget, limited
from tests.support.clock import Clock
from tests.support.loop import Loop, Run

T = TypeVar("T")

BUDGET = budget(examples=40)
START = 1_795_000_000_000
READINGS_DAYS = 40
STATUSES = ("final", "final", "final", "preliminary", "amended", "corrected", ERROR)
MIVS = ("glucose", "pressure", "reading", "reference", "relative")

KEYS = {
    "glucose": ("a", "b", "import-1", "import-2"),
    "pressure": ("p", "import-3", "a"),
    "reading": ("r", "s"),
    "reference": ("f",),
    "relative": ("v", "w"),
}


@st.composite
def items(draw: st.DrawFn) -> Item:
    """A measurement; keys, times (of the last days, as of START) and values are few, so that they collide."""
    kind = draw(st.sampled_from(("glucose", "glucose", "glucose", *KEYS)))
    key = draw(st.sampled_from(KEYS[kind]))
    return Item(
        key=key,
        kind=kind,
        device=draw(st.sampled_from(("meter", "meter", "strips"))),
        at_ms=START - draw(st.integers(0, 3)) * 25_000 - draw(st.sampled_from((0, 0, 0, 0, 21, 42))) * DAY,
        value=draw(st.integers(3, 5) if kind in ("reading", "reference") else st.integers(100, 102)),
        status=draw(st.sampled_from(STATUSES)),
        note=draw(st.booleans()),
        sources=draw(st.permutations(("r", "f"))) if kind == "relative" else (),  # type: ignore[arg-type]
        others=draw(st.sampled_from(((), (), (), ("a", "b"), ("b",)))) if key in ("a", "b") else (),
    )


@dataclass(frozen=True)
class Put:
    """Send measurements."""

    items: tuple[Item, ...]

    def of(self, day: int) -> Put:
        """The same, this many days later."""
        return Put(tuple(replace(item, at_ms=item.at_ms + day * DAY) for item in self.items))

    async def done(self, core: Core, patient_id: UUID) -> Any:
        """The status of each."""
        bodies = [item.body() for item in self.items]
        taken = await measurements.take_measurements(core, patient_id, bodies, [item.others for item in self.items])
        return [_told(core, one) for one in taken]

    def tell(self, model: Model, answer: Any, now_ms: int) -> None:
        """The same for the model."""
        model.put(self.items, now_ms - READINGS_DAYS * DAY, answer)


@dataclass(frozen=True)
class Delete:
    """Delete one."""

    key: str

    def of(self, day: int) -> Delete:
        """The same, this many days later."""
        return self

    async def done(self, core: Core, patient_id: UUID) -> Any:
        """The reason for the refusal."""
        try:
            await measurements.delete_measurement(core, patient_id, self.key)
        except Problem as problem:
            return problem.code
        return None

    def tell(self, model: Model, answer: Any, now_ms: int) -> None:
        """The same for the model."""
        model.delete(self.key, answer)


@dataclass(frozen=True)
class Forget:
    """Retention."""

    def of(self, day: int) -> Forget:
        """The same, this many days later."""
        return self

    async def done(self, core: Core, patient_id: UUID) -> Any:
        """There is no response."""
        await forget_readings(core.pool, [patient_id], core.clock() - (READINGS_DAYS + 1) * DAY)

    def tell(self, model: Model, answer: Any, now_ms: int) -> None:
        """The same for the model."""
        model.forget(now_ms - (READINGS_DAYS + 1) * DAY)


Action = Put | Delete | Forget


def _told(core: Core, one: Any) -> Any:
    if isinstance(one, Problem):
        return one.code
    return one["result"], core.ids.decode(one["id"])[1], one["version"], one["status"]  # type: ignore[index]


keys = st.sampled_from(sorted({key for some in KEYS.values() for key in some}))
puts = st.lists(items(), min_size=1, max_size=4).map(lambda some: Put(tuple(some)))
actions: st.SearchStrategy[Action] = st.one_of(puts, puts, puts, keys.map(Delete), st.just(Forget()))


class Reader:
    """One DiGA that may see this patient's single measurements."""

    def __init__(self, core: Core, patient_id: UUID) -> None:
        self._core = core
        now_ms = core.clock()
        self.codes = {code.code: (miv, code) for miv in core.catalog.mivs for code in miv.codes}
        self.floors = {kind: core.catalog.floor_ms(self.codes[CODES[kind][0]][0].valueset, now_ms) for kind in MIVS}
        urls = {self.codes[CODES[kind][0]][0].valueset for kind in MIVS}
        terms = [Term(url, False, core.catalog.floor_ms(url, now_ms), core.catalog.delay_ms(url)) for url in urls]
        self._view = View(patient_id, terms, now_ms)

    async def present(self) -> None:
        """The time as of which it sees them: an admission moves the patient's present on."""
        text = "UPDATE patient SET stamp_ms = greatest(stamp_ms, $2) WHERE patient_id = $1"
        await self._core.pool.execute(text, self._view.patient_id, self._core.clock())

    async def found(self, pairs: Sequence[tuple[str, str]], kind: Kind) -> tuple[dict[int, Any], int]:
        """The resources that a search finds, by number, and the time as of which it does."""
        search = parse_search(TYPES[kind], [*pairs, ("_count", "1000")], self._core.clock(), self._base)
        page = await first_page(self._core.pool, self._view, Names(self._core.ids, {}), search, 1000)
        assert page.total == len(page.matches)
        return {row["no"]: self._resource(row, kind) for row in page.matches}, page.at_ms

    async def read(self, no: int) -> Any:
        """What a read finds; None when this DiGA may not see it."""
        row = await read(self._core.pool, self._view, Kind.MEASUREMENT, no, 0)
        if row is None or row["deleted"] or not row["within"]:
            return None
        return self._resource(row, Kind.MEASUREMENT)

    async def versions(self, no: int) -> dict[int, Any]:
        """Every version that can be read."""
        row = await read(self._core.pool, self._view, Kind.MEASUREMENT, no, 0)
        found = {}
        if row is not None:
            for number in range(1, row["version"]):
                former = await former_version(self._core.pool, self._view, Kind.MEASUREMENT, no, number)
                if former is not None:
                    found[number] = self._resource({**row, **former}, Kind.MEASUREMENT)
        return found

    @property
    def _base(self) -> str:
        return self._core.settings.fhir_base

    def _resource(self, row: Row, kind: Kind) -> Any:
        if kind is Kind.MEASUREMENT:
            return measurement_resource(row, self._core.ids, self.codes[row["observed_code"]][1])
        if kind is Kind.METRIC:
            return device_metric_resource(row, self._core.ids)
        return device_resource(row, self._core.ids, "active")


def queries() -> st.SearchStrategy[Query]:
    """Up to three conditions."""
    instants = st.sampled_from(
        [START + day * DAY - step * 25_000 for day in (-21, 0, 21) for step in range(4)] + [START + 1, START + 2]
    )
    dates = st.tuples(st.sampled_from(("date", "_lastUpdated")), st.sampled_from(PREFIXES), instants)
    codes = st.tuples(st.just("status"), st.just(""), st.sampled_from(STATUSES))
    return st.lists(st.one_of(dates, codes), max_size=3)


class MeasurementMachine(RuleBasedStateMachine):
    """Two workers of one recorder, and two patients with the same devices."""

    core: Core
    run: Run[Any]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(START)
        self.patients = [uuid4(), uuid4()]
        self.workers = [replace(self.core, clock=self.clock, steer=self.clock) for _ in range(2)]
        self.models = [Model(), Model()]
        self.sent: list[Item] = []
        self.polled: list[dict[Kind, dict[int, Any]]] = [
            {kind: {} for kind in (Kind.MEASUREMENT, Kind.METRIC, Kind.DEVICE)} for _ in range(2)
        ]
        self.polled_ms = [0, 0]
        self.versions: dict[tuple[int, str], Any] = {}

    @property
    def day(self) -> int:
        """The day, counted from START."""
        return (self.clock() - START) // DAY

    @initialize()
    def register(self) -> None:
        for patient_id in self.patients:
            self.run(register(self.workers[0], patient_id))

    def do(self, who: int, wanted: Sequence[Action], polls: bool = False) -> None:
        """Send these at once, each to the next worker; some order in the model gives the same responses and record."""

        async def all_of_it() -> Any:
            doing = [one.done(self.workers[at % 2], self.patients[who]) for at, one in enumerate(wanted)]
            if polls:
                return (await asyncio.gather(self.polls(who), *doing))[1:]
            return await asyncio.gather(*doing)

        before = self.models[who]
        answers = self.run(all_of_it())
        self.sent += [item for one in wanted if isinstance(one, Put) for item in one.items]
        stored = self.run(stored_measurements(self.core, self.patients[who]))
        differences = []
        for order in permutations(range(len(wanted))):
            model = deepcopy(before)
            try:
                for at in order:
                    wanted[at].tell(model, answers[at], self.clock())
            except Differs as difference:
                differences.append(str(difference))
                continue
            if recorded(model) == stored:
                self.models[who] = model
                return
            differences.append(f"{recorded(model)}\n is not\n{stored}")
        raise AssertionError(f"{wanted}: no order gives {answers}:\n" + "\n".join(differences))

    @rule(who=st.sampled_from((0, 0, 0, 1)), action=actions)
    def act(self, who: int, action: Action) -> None:
        self.do(who, [action.of(self.day)])

    @rule(who=st.sampled_from((0, 0, 0, 1)), some=st.lists(actions, min_size=2, max_size=4), polls=st.booleans())
    def act_at_once(self, who: int, some: list[Action], polls: bool) -> None:
        self.do(who, [action.of(self.day) for action in some], polls)

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        if self.sent:
            again = data.draw(st.lists(st.sampled_from(self.sent), min_size=1, max_size=4))
            self.do(0, [Put(tuple(again))])

    @rule(days=st.sampled_from((0, 21, 21, 42)))
    def wait(self, days: int) -> None:
        self.clock.advance(86_400 * days + 1)

    @rule(who=st.integers(0, 1), step=st.integers(-1, 4), state=st.sampled_from(("calibrated", "not-calibrated")))
    def calibrate(self, who: int, step: int, state: str) -> None:
        """A measurement that now belongs to another DeviceMetric has another version."""
        time = date_time(START + self.day * DAY - step * 25_000)
        before = self.run(epochs(self.core, self.patients[who]))
        body = {"calibrations": [{"time": time, "state": state}]}
        self.run(
            calibrations.post_calibrations(self.workers[0], SensorKey(self.patients[who], "strips", "strip"), body)
        )
        self.moved(who, before)

    @rule(who=st.integers(0, 1), step=st.integers(-1, 4))
    def take_calibration_back(self, who: int, step: int) -> None:
        time = date_time(START + self.day * DAY - step * 25_000)
        before = self.run(epochs(self.core, self.patients[who]))
        try:
            worker = self.workers[1]
            self.run(calibrations.delete_calibration(worker, SensorKey(self.patients[who], "strips", "strip"), time))
        except Problem:
            return
        self.moved(who, before)

    def moved(self, who: int, before: dict[int, int]) -> None:
        after = self.run(epochs(self.core, self.patients[who]))
        for one in self.models[who].measurements.values():
            if not one.deleted and before.get(one.no) != after.get(one.no):
                one.versions.append(("amended" if one.status == "final" else one.status, one.content))

    async def polls(self, who: int) -> None:
        """Find what changed after the time before."""
        reader = Reader(self.workers[1], self.patients[who])
        await reader.present()
        pairs = [("_lastUpdated", f"gt{instant(self.polled_ms[who])}")] if self.polled_ms[who] else []
        for kind, known in self.polled[who].items():
            found, at_ms = await reader.found(pairs, kind)
            known |= found
            if kind is Kind.MEASUREMENT:
                self.polled_ms[who] = at_ms
                for resource in found.values():
                    self.seen(resource)

    def seen(self, resource: Any) -> None:
        """A version has the same content whenever it is read."""
        key = resource["id"], resource["meta"]["versionId"]
        content = {**resource, "meta": None}
        assert self.versions.setdefault(key, content) == content

    @rule(who=st.integers(0, 1))
    def poll(self, who: int) -> None:
        """What a DiGA has found since the beginning, each time only changes, is everything."""
        self.run(self.polls(who))
        reader = Reader(self.workers[0], self.patients[who])
        for kind, known in self.polled[who].items():
            there, _ = self.run(reader.found([], kind))
            assert {no: known.get(no) for no in there} == there
        assert set(there_of(self.models[who], reader)) == set(self.run(reader.found([], Kind.MEASUREMENT))[0])

    @rule(who=st.integers(0, 1), query=queries())
    def search(self, who: int, query: Query) -> None:
        """A DiGA finds and reads what is shown."""
        reader = Reader(self.workers[1], self.patients[who])
        self.run(reader.present())
        everything, _ = self.run(reader.found([], Kind.MEASUREMENT))
        try:
            found, _ = self.run(
                reader.found([(name, prefix + searched(name, one)) for name, prefix, one in query], Kind.MEASUREMENT)
            )
        except FhirError:  # no instant is in all of the ranges
            return
        shown = there_of(self.models[who], reader)
        wanted = {
            no for no, one in shown.items() if all(_matches(one, everything[no], *condition) for condition in query)
        }
        assert set(found) == wanted
        for no, resource in found.items():
            assert resource == everything[no]
        for no in self.models[who].numbers:
            assert self.run(reader.read(no)) == everything.get(no)
        for no in self.models[1 - who].numbers:
            assert self.run(reader.read(no)) is None

    @rule(who=st.integers(0, 1))
    def read_versions(self, who: int) -> None:
        """Every version that a measurement had can be read, and has its content."""
        reader = Reader(self.workers[0], self.patients[who])
        for one in self.models[who].measurements.values():
            if not one.deleted:
                former = self.run(reader.versions(one.no))
                assert sorted(former) == list(range(1, len(one.versions)))
                for number, resource in former.items():
                    assert resource["status"] == one.versions[number - 1][0]
                    self.seen(resource)

    @invariant()
    def each_is_of_the_epoch_of_its_time(self) -> None:
        for patient_id in self.patients:
            assert self.run(misplaced(self.core, patient_id)) == 0


def there_of(model: Model, reader: Reader) -> dict[int, Measurement]:
    """What the model shows a DiGA."""
    return model.shown(reader.floors)


def _matches(measurement: Measurement, resource: Any, name: str, prefix: str, one: int | str) -> bool:
    if isinstance(one, str):
        return measurement.status == one
    target = _period(measurement) if name == "date" else date_range(resource["meta"]["lastUpdated"])
    return compare(prefix, date_range(searched(name, one)), target)


def _period(measurement: Measurement) -> Range:
    start, end = measurement.content[:2]
    first = date_range(date_time(start))
    return first[0], FAR if end is None else first[1]


def recorded(model: Model) -> Any:
    """What the database should contain."""
    found = {}
    for one in model.measurements.values():
        found[one.no] = (one.key, one.deleted, [] if one.deleted else one.versions)
    return found


async def stored_measurements(core: Core, patient_id: UUID) -> Any:
    """The same, as the database contains it."""
    columns = "m.measurement_no, m.measurement_key, m.deleted_ms, m.effective_ms, m.effective_end_ms"
    rows = await core.pool.fetch(
        f"""SELECT {columns}, v.version, v.status, v.content, v.derived_from
              FROM measurement m JOIN measurement_version v USING (patient_id, measurement_no) WHERE m.patient_id = $1
            UNION ALL
            SELECT {columns}, m.version, m.status, m.content, m.derived_from FROM measurement m WHERE m.patient_id = $1
             ORDER BY measurement_no, version""",
        patient_id,
    )
    found: dict[int, Any] = {}
    for row in rows:
        deleted = row["deleted_ms"] is not None
        one = found.setdefault(row["measurement_no"], (row["measurement_key"], deleted, []))
        if deleted:
            assert row["content"] == b""
            continue
        content = orjson.loads(row["content"])
        assert content["status"] == row["status"]
        one[2].append((row["status"], _content(content, row["derived_from"])))
        assert len(one[2]) == row["version"]
    for no, (_, deleted, versions) in found.items():
        if not deleted:
            row = next(row for row in reversed(rows) if row["measurement_no"] == no)
            assert versions[-1][1][:2] == (row["effective_ms"], row["effective_end_ms"])
    orphans = await core.pool.fetchval(
        """SELECT count(*) FROM measurement_version v WHERE patient_id = $1 AND NOT EXISTS (
            SELECT FROM measurement m WHERE m.patient_id = $1 AND m.measurement_no = v.measurement_no)""",
        patient_id,
    )
    assert orphans == 0, "versions without a measurement"
    return found


def _content(content: Any, derived_from: Sequence[int]) -> Any:
    parts = content.get("component")
    value = (parts[0] if parts else content)["valueQuantity"]["value"]
    period = content.get("effectivePeriod")
    start, end = date_range(content["effectiveDateTime"] if period is None else period["start"])
    first, last = (round(one.timestamp() * 1000) for one in (start, end))
    return first, last if period is None else None, value, "note" in content, tuple(derived_from)


async def epochs(core: Core, patient_id: UUID) -> dict[int, int]:
    """The epoch of each measurement that has one."""
    rows = await core.pool.fetch(
        "SELECT measurement_no, epoch_no FROM measurement WHERE patient_id = $1 AND epoch_no IS NOT NULL", patient_id
    )
    return dict(rows)


async def misplaced(core: Core, patient_id: UUID) -> int:
    """How many measurements refer to a DeviceMetric of another time, or to one that no longer exists."""
    number: int = await core.pool.fetchval(
        """SELECT count(*) FROM measurement m LEFT JOIN epoch e ON e.patient_id = $1 AND e.epoch_no = m.epoch_no
            WHERE m.patient_id = $1 AND m.epoch_no IS NOT NULL AND m.deleted_ms IS NULL
              AND NOT coalesce(NOT e.withdrawn AND m.effective_ms >= e.from_ms
                               AND (e.until_ms IS NULL OR m.effective_ms < e.until_ms), false)""",
        patient_id,
    )
    return number


async def register(core: Core, patient_id: UUID) -> None:
    """A patient with a meter, and one whose strips are calibrated."""
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", patient_id)
    for key in ("meter", "strips"):
        members = {**METER, "serialNumber": f"SN-{key}", "startedAt": date_time(START - 300 * DAY)}
        await devices.put_device(core, patient_id, key, members)
    strip = {"code": "2339-0", "unit": "mg/dL", "calibration": {"state": "not-calibrated"}}
    await sensors.put_sensor(core, SensorKey(patient_id, "strips", "strip"), strip)


@limited
def test_what_was_acknowledged_is_there_once(core: Core, loop: Loop) -> None:
    terms = replace(core.settings, readings_days=READINGS_DAYS)
    members = {"core": replace(core, settings=terms), "run": staticmethod(loop.run)}
    run_state_machine_as_test(type("Machine", (MeasurementMachine,), members), settings=BUDGET)
