"""Accepts readings of many patients in one request: POST …/bridge/readings, for cloud bridges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from ddr.aside import LARGE_ITEMS, aside
from ddr.gateway.bridges import LONGEST_ACCOUNT, patients_of, unknown_account
from ddr.gateway.fields import Fields
from ddr.gateway.problem import Problem, invalid, unavailable
from ddr.gateway.reading_answers import answered
from ddr.gateway.readings import ascending, continuous, load_series, read, store_readings
from ddr.http.core import Core
from ddr.series.packing import Reading
from ddr.series.reading import Rejection
from ddr.store.database.faults import BUSY, FAULTS, fault_of
from ddr.store.series import sensors as series_sensors
from ddr.store.series.bulk import append_all
from ddr.store.series.merging import Outcome
from ddr.store.series.sensors import LimitsAdded, Sensor, SensorKey

MOST_PARTS = 5_000
SLICE = 500  # parts that are stored together: this process parses one slice while the database works on another
MOST_BUSY = 3  # patients of a slice for whose locks it waits
LARGE_PARTS = 100  # which are parsed outside the event loop
LANES = 2  # slices at once; the other connections are for other requests
COUNTS = ("accepted", "duplicate", "rejected")


@dataclass(frozen=True, slots=True)
class Part:
    """What a request says about one sensor of one patient."""

    account: str
    device: str
    sensor: str
    unit: Any
    items: list[Any]

    def key(self, patients: Mapping[str, UUID]) -> SensorKey:
        """Identifies the sensor among those of all patients."""
        return SensorKey(patients[self.account], self.device, self.sensor)


@dataclass(slots=True)
class KnownPart:
    """A part with known patient and sensor. `found` has the result of parsing each item."""

    key: SensorKey
    sensor: Sensor
    unit: Any
    items: list[Any]
    found: list[Reading | Rejection]
    readings: list[Reading]  # ascending, each once
    outcome: Outcome | None = None  # None: not stored yet


async def post_bridge_readings(core: Core, body: Any) -> tuple[int, dict[str, Any]]:
    """Store the readings of every part and answer each part as POST …/readings would; a part may be refused alone.

    What is answered as accepted is committed. Raises Problem 413 or 422 for the request as a whole.
    """
    now = core.clock()
    parts = await aside(large_request(body), _parse, body, core.settings.gateway_max_items)
    patients = await patients_of(core, {part.account for part in parts if isinstance(part, Part)})
    slices = [parts[at : at + SLICE] for at in range(0, len(parts), SLICE)]
    lanes = asyncio.Semaphore(LANES)

    async def in_lane(one: Sequence[Part | Problem]) -> list[dict[str, Any]]:
        async with lanes:
            return await _take(core, one, patients, now)

    stored = await asyncio.gather(*map(in_lane, slices))
    answers = list(chain.from_iterable(stored))
    counts = {name: sum(answer.get(name, 0) for answer in answers) for name in COUNTS}
    return 200, {**counts, "refused": sum("reason" in answer for answer in answers), "patients": answers}


def large_request(body: Any) -> bool:
    """True when there is much to parse; malformed bodies are found when they are parsed."""
    parts = body.get("patients") if isinstance(body, dict) else None
    return isinstance(parts, list) and len(parts) > LARGE_PARTS


def _parse(body: Any, most: int) -> list[Part | Problem]:
    fields = Fields(body)
    entries = fields.raw("patients")
    fields.done()
    if not isinstance(entries, list):
        raise invalid("patients", "must be an array")
    if len(entries) > MOST_PARTS:
        raise Problem(
            413, "too-many-items", f"patients has more than {MOST_PARTS} entries; split them into several requests"
        )
    parts = [_part(entry, f"patients[{at}]") for at, entry in enumerate(entries)]
    if sum(len(part.items) for part in parts if isinstance(part, Part)) > most:
        raise Problem(
            413, "too-many-items", f"The request has more than {most} readings; split it into several requests"
        )
    return parts


def _part(entry: Any, where: str) -> Part | Problem:
    try:
        fields = Fields(entry, where)
        account = fields.need("account", lambda name: fields.text(name, LONGEST_ACCOUNT))
        device, sensor = fields.need("device", fields.key), fields.need("sensor", fields.key)
        unit, items = fields.raw("unit"), fields.raw("readings")
        fields.done()
        if not isinstance(items, list):
            raise invalid(fields.at("readings"), "must be an array")
        return Part(account, device, sensor, unit, items)
    except Problem as problem:
        return problem.kept()


async def _take(
    core: Core, parts: Sequence[Part | Problem], patients: Mapping[str, UUID], now_ms: int
) -> list[dict[str, Any]]:
    """The answers to parts: one statement finds their sensors, one appends what it can, the rest is merged singly."""
    keys = {part.key(patients) for part in parts if isinstance(part, Part) and part.account in patients}
    sensors = await series_sensors.load_all(core.pool, keys)
    # For the slice as a whole: many small parts in a row occupy the event loop as long as one large part.
    items = sum(len(part.items) for part in parts if isinstance(part, Part))
    large = items > LARGE_ITEMS or len(parts) > LARGE_PARTS

    def read_all() -> list[KnownPart | Problem]:
        return [_read(core, part, patients, sensors, now_ms) if isinstance(part, Part) else part for part in parts]

    known = await aside(large, read_all)
    await _append(core, (part for part in known if isinstance(part, KnownPart)), now_ms)
    busy: set[UUID] = set()
    stored = [await _store(core, part, now_ms, busy) for part in known]
    return await aside(items > LARGE_ITEMS, lambda: [_answer(core, part) for part in stored])


def _read(
    core: Core, part: Part, patients: Mapping[str, UUID], sensors: Mapping[SensorKey, Sensor], now_ms: int
) -> KnownPart | Problem:
    if part.account not in patients:
        return unknown_account()
    key = part.key(patients)
    try:
        sensor = continuous(core, sensors.get(key))
        found = read(core, sensor, part.items, part.unit, now_ms)
    except Problem as problem:
        return problem.kept()
    return KnownPart(key, sensor, part.unit, part.items, found, ascending(found))


async def _append(core: Core, parts: Iterable[KnownPart], now_ms: int) -> None:
    """Append at once what can be appended: for each sensor its first part, which is nearly always the only one."""
    first: dict[SensorKey, KnownPart] = {}
    for part in parts:
        first.setdefault(part.key, part)
    pairs = [(part.sensor, part.readings) for part in first.values()]
    for part, done in zip(first.values(), await append_all(core.pool, pairs, now_ms, core.steered_ms), strict=True):
        if done:
            part.outcome = Outcome(accepted=set(part.readings))


async def _store(core: Core, part: KnownPart | Problem, now_ms: int, busy: set[UUID]) -> KnownPart | Problem:
    """The part with its outcome: stored on its own if it could not be appended with the others. Or why it was refused.

    A patient whose data is locked is not waited for a second time; after a few such patients, the request ends.
    """
    if isinstance(part, Problem) or part.outcome is not None:
        return part
    patient_id = part.key.patient_id
    if patient_id in busy:
        return unavailable(BUSY)
    try:
        while part.outcome is None:
            try:
                part.outcome = await store_readings(core, part.key, part.sensor, part.readings, now_ms)
            except LimitsAdded:
                part.sensor, large = await load_series(core, part.key), len(part.items) > LARGE_ITEMS
                part.found = await aside(large, read, core, part.sensor, part.items, part.unit, now_ms)
                part.readings = await aside(large, ascending, part.found)
    except Problem as problem:  # the sensor no longer exists
        return problem.kept()
    except FAULTS as error:
        busy.add(patient_id)
        if fault_of(error) != BUSY or len(busy) > MOST_BUSY:
            raise
        return unavailable(BUSY)
    return part


def _answer(core: Core, part: KnownPart | Problem) -> dict[str, Any]:
    """The answer to a part."""
    if isinstance(part, Problem):
        return part.item()
    assert part.outcome is not None
    return answered(core, part.items, part.found, part.outcome, part.sensor)
