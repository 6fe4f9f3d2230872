"""Stores the values of a Bundle, whose devices and sensors exist by then, through the functions behind the JSON API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from ddr.aside import LARGE_ITEMS, aside
from ddr.gateway.door.attempts import Attempts
from ddr.gateway.door.codes import Json
from ddr.gateway.door.directory import Directory, Target
from ddr.gateway.door.limits import add_limits
from ddr.gateway.door.observations import Observed, is_time_stamp
from ddr.gateway.door.registering import register_sensor, stored_sensor
from ddr.gateway.door.results import answers_of, measurement_answer, with_warnings
from ddr.gateway.door.starts import reach_back
from ddr.gateway.measurements import take_measurements
from ddr.gateway.problem import Problem, invalid
from ddr.gateway.readings import post_readings
from ddr.http.core import Core
from ddr.miv.model import MivCode
from ddr.store.gateways import known_ids
from ddr.store.series.sensors import SensorKey

Events = dict[Target, list[Json]]  # calibrations by the sensor whose DeviceMetric states them


class Series(NamedTuple):
    """A sensor, and what those of its readings have in common that are sent to it together."""

    device: str
    sensor: str
    unit: str | None
    corrects: bool


class Keyed(NamedTuple):
    """A dedicated measurement, the key by which others may refer to it, and what it was measured with."""

    item: Observed
    key: str
    target: Target | None


class Values:
    """The values of one Bundle of one patient; `events` are its calibrations."""

    def __init__(self, core: Core, patient_id: UUID, directory: Directory, attempts: Attempts, events: Events) -> None:
        self.core = core
        self.patient_id = patient_id
        self.directory = directory
        self.attempts = attempts
        self.events = events

    async def series(self, observed: Sequence[Observed]) -> None:
        """Store the readings of all Observations of a sensor at once, oldest first, as uploads to it.

        Readings that correct others come after those that they may correct.
        """
        uploads: defaultdict[Series, list[Observed]] = defaultdict(list)
        kinds: dict[tuple[str, MivCode], str] = {}  # sensor keys of Observations that only refer to a Device
        for item in sorted(observed, key=lambda item: item.earliest_ms):
            series = await self.attempts.attempt(item.entry, self._series_of(item, observed, kinds))
            if series is not None:
                uploads[series].append(item)
        for (device, sensor, _, corrects), items in sorted(uploads.items(), key=lambda one: one[0].corrects):
            await self._reach_back(Target(device, sensor), items)
            key = SensorKey(self.patient_id, device, sensor)
            unfit = await add_limits(self.core, key, items)
            self.attempts.answers |= unfit
            fitting = [item for item in items if item.entry.index not in unfit]
            for part in split(fitting, self.core.settings.gateway_max_items):
                await self._upload(key, part, corrects)

    async def _series_of(
        self, item: Observed, observed: Sequence[Observed], kinds: dict[tuple[str, MivCode], str]
    ) -> Series:
        """Where an Observation belongs; its sensor is registered if only its device is named."""
        assert item.samples is not None
        if item.device is None:
            raise invalid("device", "is required")
        device, sensor = await self.directory.target(item.device)
        if sensor is None:
            sensor = kinds.get((device, item.code)) or await self._sensor(device, item, observed)
            kinds[device, item.code] = sensor
        return Series(device, sensor, item.samples.unit, item.corrects_readings)

    async def _sensor(self, device: str, item: Observed, observed: Sequence[Observed]) -> str:
        """The key of the device's sensor for this kind of value, which is registered if there is none."""
        whose = self.core, self.patient_id, device
        stored = await stored_sensor(*whose, item.code, None)
        if stored is not None:
            return str(stored["sensor_key"])
        alike = [other for other in observed if (other.device, other.code) == (item.device, item.code)]
        _, found = await register_sensor(*whose, (item.miv, item.code), alike, None, None)
        return str(found["key"])

    async def _upload(self, key: SensorKey, items: Sequence[Observed], corrects: bool) -> None:
        samples = [item.samples for item in items if item.samples is not None]
        readings = [reading for part in samples for reading in part.readings]
        body = {"unit": samples[0].unit, "readings": readings, "correction": corrects}
        try:
            _, sent = await post_readings(self.core, key, body)
        except Problem as problem:
            self.attempts.answers |= dict.fromkeys((item.entry.index for item in items), problem.kept())
            return
        self.attempts.answers |= await aside(len(sent["items"]) > LARGE_ITEMS, answers_of, items, sent["items"])

    async def measurements(self, observed: Sequence[Observed]) -> None:
        """Store all dedicated measurements at once, because some are derived from others."""
        keyed: list[Keyed] = []
        by_target: defaultdict[Target, list[Observed]] = defaultdict(list)
        for item in observed:
            found = await self.attempts.attempt(item.entry, self._keyed(item))
            if found is not None:
                keyed.append(found)
                self.directory.measurement_keys[item.entry.index] = found.key
                if found.target is not None:
                    by_target[found.target].append(item)
        for target, values in by_target.items():
            await self._reach_back(target, values)
        items, bodies = [], []
        for one in keyed:
            body = await self.attempts.attempt(one.item.entry, self._body(one))
            if body is not None:
                items.append(one.item)
                bodies.append(body)
        others = [item.other_keys(body.get("device")) for item, body in zip(items, bodies, strict=True)]
        taken = await take_measurements(self.core, self.patient_id, bodies, others) if items else []
        for item, answer in zip(items, taken, strict=True):
            done = answer if isinstance(answer, Problem) else measurement_answer(answer)
            self.attempts.answers[item.entry.index] = with_warnings(done, item)

    async def _reach_back(self, target: Target, items: Sequence[Observed]) -> None:
        """Move the start of a device or sensor back to its values; where this is refused, each value is told so."""
        with suppress(Problem):
            await reach_back(self.core, self.patient_id, *target, items, self.events.get(target, []))

    async def _keyed(self, item: Observed) -> Keyed:
        target = await self.directory.target(item.device) if item.device else None
        device = target and target.device_key
        key = await self._key_of_corrected(item, device) if item.corrects else None
        return Keyed(item, key or item.key(device), target)

    async def _key_of_corrected(self, item: Observed, device: str | None) -> str | None:
        """The key of the only measurement that a correction without identifier can mean, by code, device and time."""
        code = item.code.system, item.code.code
        found = await known_ids.measurement_keys_at(self.core.pool, self.patient_id, code, device, item.earliest_ms)
        return found[0] if len(found) == 1 else None

    async def _body(self, keyed: Keyed) -> Json:
        """The measurement's body for the JSON API."""
        item, key, target = keyed
        body = {"key": key, **item.body}
        if target is not None:
            body["device"] = target.device_key
            if target.sensor_key is not None and item.code.kind != "reference":
                body["sensor"] = target.sensor_key
        if item.code.kind == "relative":  # others name the coincident time stamp there, or what they came with
            sources = [text for text in item.derived_from if not self._is_time_stamp(text)]
            body["derivedFrom"] = [await self.directory.measurement(text) for text in sources]
        return body

    def _is_time_stamp(self, text: str) -> bool:
        entry = self.directory.names.get(text)
        return entry is not None and is_time_stamp(entry.fields)


def split(items: Sequence[Observed], most: int) -> Iterator[list[Observed]]:
    """`items` in order, in parts of at most `most` readings; one that has more is a part of its own."""
    part: list[Observed] = []
    count = 0
    for item in items:
        size = len(item.samples.readings) if item.samples else 0
        if part and count + size > most:
            yield part
            part, count = [], 0
        part.append(item)
        count += size
    if part:
        yield part
