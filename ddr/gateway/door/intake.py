"""Stores the entries of a Bundle, devices first, through the functions behind the JSON API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID

from ddr.aside import LARGE_ITEMS, aside
from ddr.gateway.devices import put_device
from ddr.gateway.door import metrics
from ddr.gateway.door.answers import Answer, not_kept
from ddr.gateway.door.attempts import Attempts
from ddr.gateway.door.codes import Json
from ddr.gateway.door.devices import device_body, is_gateway, known_device, remarks
from ddr.gateway.door.directory import Directory, Target
from ddr.gateway.door.entries import Entry, reference
from ddr.gateway.door.observations import Observed, is_time_stamp, read_observation
from ddr.gateway.door.registering import device_key_of, register_sensor, store_calibrations, stored_sensor
from ddr.gateway.door.sampled import check_count, tokens_of
from ddr.gateway.door.values import Events, Values
from ddr.gateway.fields import Fields
from ddr.gateway.problem import Problem, invalid
from ddr.http.core import Core
from ddr.imports.labels import is_test
from ddr.store.devices import devices as store

NOT_KEPT = "Not kept: the recorder does not use this resource"
TEST_NOT_KEPT = "Not kept: test data (meta.security HTEST) belongs to no patient"

T = TypeVar("T")
ByPlace = defaultdict[int, list[T]]  # by the place of an entry
Metric = tuple[Entry, list[Json]]  # a DeviceMetric and its calibrations


class Intake:
    """The processing of one Bundle of one patient."""

    def __init__(self, core: Core, patient_id: UUID, entries: Sequence[Entry | Problem]) -> None:
        self.core = core
        self.patient_id = patient_id
        self.directory = Directory(core, patient_id, entries)
        self.sent = entries
        self.entries = [entry for entry in entries if isinstance(entry, Entry)]
        self.samples = 0  # in all SampledData so far

    async def run(self) -> list[Answer | Problem]:
        """Process all entries, whatever their order. A refused entry only blocks those that refer to it."""
        self.attempts = Attempts(self.sent)  # not before: large Bundles are parsed outside the event loop
        observed = await self._observations()
        observed_with = self._by_origin(observed)
        described = await self._metrics()
        await self._devices(observed_with, described)
        events = await self._sensors(observed_with, described)
        values = Values(self.core, self.patient_id, self.directory, self.attempts, events)
        await values.series([item for item in observed if item.samples])
        await values.measurements([item for item in observed if not item.samples])
        return [self.attempts.answers[i] for i in sorted(self.attempts.answers)]

    def _of(self, resource_type: str) -> Iterator[Entry]:
        return self.attempts.unrefused(entry for entry in self.entries if entry.type == resource_type)

    # --- what is there ---------------------------------------------------------------------------------------------

    async def _observations(self) -> list[Observed]:
        """The Observations that can be read; answers the entries of types that are not kept."""
        found: list[Observed] = []
        for entry in self.entries:
            if entry.type not in {"Device", "DeviceMetric"}:
                read = await self.attempts.attempt(entry, self._read(entry))
                if isinstance(read, Observed):
                    found.append(read)
        return found

    async def _read(self, entry: Entry) -> Observed | Answer:
        if entry.type == "Patient" or (entry.type == "Observation" and is_time_stamp(entry.fields)):
            return Answer(200, remark=NOT_KEPT)
        if entry.type == "Observation" and is_test(entry.fields.data):
            return Answer(200, remark=TEST_NOT_KEPT)
        if entry.type != "Observation":
            raise not_kept(f"a resource of type {entry.type}")
        latest_ms = self.core.clock() + self.core.settings.gateway_future_seconds * 1000
        count = tokens_of(entry.fields)
        self.samples += count
        check_count(self.samples)
        return await aside(count > LARGE_ITEMS, read_observation, entry, self.core.catalog, latest_ms)

    def _by_origin(self, observed: Iterable[Observed]) -> ByPlace[Observed]:
        """The Observations by the place of the DeviceMetric that they refer to, and of the Device of either."""
        found: ByPlace[Observed] = defaultdict(list)
        for item in observed:
            origin = self.directory.names.get(item.device or "")
            for entry in (origin, origin and self._source(origin)):
                if entry is not None:
                    found[entry.index].append(item)
        return found

    def _source(self, entry: Entry) -> Entry | None:
        """The Device entry of a DeviceMetric entry."""
        if entry.type != "DeviceMetric":
            return None
        try:
            return self.directory.names.get(reference(entry.fields, "source") or "")
        except Problem:
            return None  # the DeviceMetric will be refused itself

    async def _metrics(self) -> list[Metric]:
        """The DeviceMetrics whose calibrations can be read."""
        found = []
        for entry in self._of("DeviceMetric"):
            events = await self.attempts.attempt(entry, self._calibrations(entry))
            if events is not None:
                found.append((entry, events))
        return found

    async def _calibrations(self, entry: Entry) -> list[Json]:
        return metrics.calibrations(entry.fields)

    # --- devices and sensors -----------------------------------------------------------------------------------------

    async def _devices(self, observed_with: ByPlace[Observed], described: Sequence[Metric]) -> None:
        own: ByPlace[Fields] = defaultdict(list)  # DeviceMetrics by the place of their Device
        for metric, _ in described:
            if (source := self._source(metric)) is not None:
                own[source.index].append(metric.fields)
        for entry in self._of("Device"):
            await self.attempts.attempt(entry, self._device(entry, observed_with[entry.index], own[entry.index]))

    async def _device(self, entry: Entry, observed: Sequence[Observed], own: Sequence[Fields]) -> Answer:
        if is_gateway(entry.fields):
            return Answer(200, remark=NOT_KEPT)
        key = await device_key_of(self.core, self.patient_id, entry.fields)
        row = await store.find_device(self.core.pool, self.patient_id, key)
        earliest_ms = metrics.first_value_ms(observed, own, self.core.clock()) if row is None else None
        body = device_body(entry.fields, earliest_ms)
        wanted = body if row is None else known_device(row, entry.fields, body)
        status, found = await put_device(self.core, self.patient_id, key, wanted)
        self.directory.targets[entry.index] = Target(key)
        return Answer(status, f"Device/{found['id']}", remark=remarks(entry.fields, found))

    async def _sensors(self, observed_with: ByPlace[Observed], described: Iterable[Metric]) -> Events:
        """Register the sensor of each DeviceMetric. Returns the calibrations of those that were accepted."""
        taken: Events = {}
        for entry, events in described:
            if await self.attempts.attempt(entry, self._metric(entry, events, observed_with[entry.index])):
                taken[self.directory.targets[entry.index]] = events
        return taken

    async def _metric(self, entry: Entry, events: Sequence[Json], observed: Sequence[Observed]) -> Answer:
        source = reference(entry.fields, "source")
        if source is None:
            raise invalid("source", "is required")
        key = (await self.directory.target(source)).device_key
        kind = metrics.metric_code(entry.fields, self.core.catalog, observed)
        whose = self.core, self.patient_id, key
        stored = await stored_sensor(*whose, kind[1], entry.fields)
        status, found = await register_sensor(*whose, kind, observed, entry.fields, stored)
        self.directory.targets[entry.index] = Target(key, found["key"])
        metric_id = await store_calibrations(*whose, found, events)
        return Answer(status, f"DeviceMetric/{metric_id}")
