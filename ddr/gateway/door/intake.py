"""Takes the entries of a Bundle, devices first, through the functions behind the JSON API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

from ddr.aside import LARGE_ITEMS, Breath, aside
from ddr.gateway.devices import put_device
from ddr.gateway.door import metrics
from ddr.gateway.door.answers import Answer, not_kept
from ddr.gateway.door.codes import Json
from ddr.gateway.door.devices import device_body, is_gateway, known_device, remarks
from ddr.gateway.door.directory import Directory, Target
from ddr.gateway.door.entries import Entry, reference
from ddr.gateway.door.limits import add_limits
from ddr.gateway.door.observations import Observed, is_time_stamp, read_observation
from ddr.gateway.door.registering import device_key_of, register_sensor, store_calibrations, stored_sensor
from ddr.gateway.door.results import answers_of, measurement_answer, with_warnings
from ddr.gateway.door.sampled import check_count, tokens_of
from ddr.gateway.door.starts import reach_back
from ddr.gateway.fields import Fields
from ddr.gateway.measurements import take_measurements
from ddr.gateway.problem import Problem, invalid
from ddr.gateway.readings import post_readings
from ddr.http.core import Core
from ddr.imports.labels import is_test
from ddr.miv.model import MivCode
from ddr.store.devices import devices as store
from ddr.store.gateways import known_ids

NOT_KEPT = "Not kept: the recorder needs it for nothing"
TEST_NOT_KEPT = "Not kept: test data (meta.security HTEST) is of no patient"


class Series(NamedTuple):
    """A sensor, and what its readings have in common that are sent to it together."""

    device: str
    sensor: str
    unit: str | None
    corrects: bool


Uploads = dict[Series, list[Observed]]


class Intake:
    """One Bundle of one patient on its way into the record; `answers` has what became of each entry, by its place."""

    def __init__(self, core: Core, patient_id: UUID, entries: Sequence[Entry | Problem]) -> None:
        self.core = core
        self.patient_id = patient_id
        self.directory = Directory(core, patient_id, entries)
        self.answers: dict[int, Answer | Problem] = {}
        self.samples = 0  # in all SampledData so far
        # by the place of the Device that they refer to, directly or by a DeviceMetric, and of that DeviceMetric
        self.observed_with: defaultdict[int, list[Observed]] = defaultdict(list)
        # DeviceMetrics by the place of their Device
        self.metrics_of: defaultdict[int, list[Fields]] = defaultdict(list)
        self.events: dict[Target, list[Json]] = {}  # calibrations by the sensor whose DeviceMetric says them
        # sensor keys by device and code, for Observations that refer to a Device and to no DeviceMetric
        self.kind_sensors: dict[tuple[str, MivCode], str] = {}
        self.entries = [entry for entry in entries if isinstance(entry, Entry)]
        self.answers |= {i: entry for i, entry in enumerate(entries) if isinstance(entry, Problem)}

    async def run(self) -> list[Answer | Problem]:
        """Take all entries, whatever their order. One that is refused blocks only those that refer to it."""
        self.breath = Breath()  # not before: large Bundles are made beside the event loop
        observed = await self._observations()
        await self._each("DeviceMetric", self._note_metric)
        await self._each("Device", self._device)
        await self._each("DeviceMetric", self._metric)
        await self._series([item for item in observed if item.samples])
        await self._measurements([item for item in observed if not item.samples])
        return [self.answers[i] for i in sorted(self.answers)]

    async def _each(self, resource_type: str, work: Callable[[Entry], Awaitable[Answer | None]]) -> None:
        for entry in self.entries:
            if entry.type == resource_type and not isinstance(self.answers.get(entry.index), Problem):
                await self._attempt(entry, work(entry))

    async def _attempt(self, entry: Entry, work: Awaitable[Answer | None]) -> None:
        await self.breath.take()
        try:
            answer = await work
        except Problem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED:  # the account is gone: nothing else can be taken
                raise
            kept = problem.kept()
            self.answers[entry.index] = Answer(200, passed_over=[kept]) if kept.status == HTTPStatus.OK else kept
        else:
            if answer is not None:
                self.answers[entry.index] = answer

    # --- what is there ---------------------------------------------------------------------------------------------

    async def _observations(self) -> list[Observed]:
        """The Observations that can be read; answers the entries of other types that are not kept."""
        found: list[Observed] = []
        for entry in self.entries:
            if entry.type not in {"Device", "DeviceMetric"}:
                await self._attempt(entry, self._read(entry, found))
        for item in found:
            device = self.directory.names.get(item.device or "")
            for origin in (device, device and self._source(device)):
                if origin is not None:
                    self.observed_with[origin.index].append(item)
        return found

    async def _read(self, entry: Entry, found: list[Observed]) -> Answer | None:
        if entry.type == "Patient" or (entry.type == "Observation" and is_time_stamp(entry.fields)):
            return Answer(200, remark=NOT_KEPT)
        if entry.type == "Observation" and is_test(entry.fields.data):
            return Answer(200, remark=TEST_NOT_KEPT)
        if entry.type != "Observation":
            raise not_kept(f"a resource of type {entry.type}")
        latest_ms = self.core.clock() + self.core.settings.gateway_future_seconds * 1000
        count = tokens_of(entry.fields)
        self.samples += count
        check_count(self.samples, "The Bundle")
        found.append(await aside(count > LARGE_ITEMS, read_observation, entry, self.core.catalog, latest_ms))
        return None

    def _source(self, entry: Entry) -> Entry | None:
        """The Device entry of a DeviceMetric entry."""
        if entry.type != "DeviceMetric":
            return None
        try:
            return self.directory.names.get(reference(entry.fields, "source") or "")
        except Problem:
            return None  # the DeviceMetric is refused in its turn

    async def _note_metric(self, entry: Entry) -> None:
        """Put a DeviceMetric to those of its Device. Raises Problem 422 when its calibrations cannot be read."""
        metrics.calibrations(entry.fields)
        if (source := self._source(entry)) is not None:
            self.metrics_of[source.index].append(entry.fields)

    # --- devices and sensors -----------------------------------------------------------------------------------------

    async def _device(self, entry: Entry) -> Answer:
        if is_gateway(entry.fields):
            return Answer(200, remark=NOT_KEPT)
        key = await device_key_of(self.core, self.patient_id, entry.fields)
        earliest_ms = None
        row = await store.find_device(self.core.pool, self.patient_id, key)
        if row is None:
            observed, own = self.observed_with[entry.index], self.metrics_of[entry.index]
            earliest_ms = metrics.first_value_ms(observed, own, self.core.clock())
        body = device_body(entry.fields, earliest_ms)
        wanted = body if row is None else known_device(row, entry.fields, body)
        status, found = await put_device(self.core, self.patient_id, key, wanted)
        self.directory.targets[entry.index] = Target(key)
        return Answer(status, f"Device/{found['id']}", remark=remarks(entry.fields, found))

    async def _metric(self, entry: Entry) -> Answer:
        source = reference(entry.fields, "source")
        if source is None:
            raise invalid("source", "is required")
        key = (await self.directory.target(source)).device_key
        observed = self.observed_with[entry.index]
        kind = metrics.metric_code(entry.fields, self.core.catalog, observed)
        whose = self.core, self.patient_id, key
        stored = await stored_sensor(*whose, kind[1], entry.fields)
        status, found = await register_sensor(*whose, kind, observed, entry.fields, stored)
        self.directory.targets[entry.index] = target = Target(key, found["key"])
        events = metrics.calibrations(entry.fields)
        metric_id = await store_calibrations(*whose, found, events)
        self.events[target] = events
        return Answer(status, f"DeviceMetric/{metric_id}")

    # --- values ------------------------------------------------------------------------------------------------------

    async def _series(self, observed: Sequence[Observed]) -> None:
        """Store the readings of all Observations of a sensor at once, the oldest first, as uploads to it.

        Those that correct others come after what may be others.
        """
        uploads: Uploads = {}
        for item in sorted(observed, key=lambda item: item.earliest_ms):
            await self._attempt(item.entry, self._assign(item, observed, uploads))
        for (device, sensor, _, corrects), items in sorted(uploads.items(), key=lambda one: one[0].corrects):
            await self._reach_back(device, sensor, items)
            unfit = await add_limits(self.core, self.patient_id, device, sensor, items)
            self.answers |= unfit
            fitting = [item for item in items if item.entry.index not in unfit]
            for part in split(fitting, self.core.settings.gateway_max_items):
                await self._upload(device, sensor, part, corrects)

    async def _assign(self, item: Observed, observed: Sequence[Observed], uploads: Uploads) -> None:
        """Put an Observation to the others of its sensor, which is registered where nothing but its device is named."""
        assert item.samples is not None
        if item.device is None:
            raise invalid("device", "is required")
        device, sensor = await self.directory.target(item.device)
        if sensor is None:
            sensor = self.kind_sensors.get((device, item.code)) or await self._sensor(device, item, observed)
            self.kind_sensors[device, item.code] = sensor
        key = Series(device, sensor, item.samples.unit, item.corrects_readings)
        uploads.setdefault(key, []).append(item)

    async def _sensor(self, device: str, item: Observed, observed: Sequence[Observed]) -> str:
        """The key of the device's sensor for this kind of value, which is registered when there is none."""
        whose = self.core, self.patient_id, device
        stored = await stored_sensor(*whose, item.code, None)
        if stored is not None:
            return str(stored["sensor_key"])
        alike = [other for other in observed if (other.device, other.code) == (item.device, item.code)]
        _, found = await register_sensor(*whose, (item.miv, item.code), alike, None, None)
        return str(found["key"])

    async def _upload(self, device: str, sensor: str, items: Sequence[Observed], corrects: bool) -> None:
        samples = [item.samples for item in items if item.samples is not None]
        readings = [reading for part in samples for reading in part.readings]
        body = {"unit": samples[0].unit, "readings": readings, "correction": corrects}
        try:
            _, sent = await post_readings(self.core, self.patient_id, device, sensor, body)
        except Problem as problem:
            self.answers |= dict.fromkeys((item.entry.index for item in items), problem.kept())
            return
        self.answers |= await aside(len(sent["items"]) > LARGE_ITEMS, answers_of, items, sent["items"])

    async def _measurements(self, observed: Sequence[Observed]) -> None:
        """Store all dedicated measurements at once, because some are derived from others."""
        targets: dict[int, Target | None] = {}
        for item in observed:
            await self._attempt(item.entry, self._give_key(item, targets))
        by_target: defaultdict[Target, list[Observed]] = defaultdict(list)
        for item in observed:
            if (target := targets.get(item.entry.index)) is not None:
                by_target[target].append(item)
        for (device, sensor), values in by_target.items():
            await self._reach_back(device, sensor, values)
        items: list[tuple[Observed, dict[str, Any]]] = []
        for item in observed:
            if item.entry.index in targets:
                await self._attempt(item.entry, self._add_body(item, targets[item.entry.index], items))
        bodies = [body for _, body in items]
        others = [item.other_keys(body.get("device")) for item, body in items]
        taken = await take_measurements(self.core, self.patient_id, bodies, others) if items else []
        for (item, _), answer in zip(items, taken, strict=True):
            done = answer if isinstance(answer, Problem) else measurement_answer(answer)
            self.answers[item.entry.index] = with_warnings(done, item)

    async def _reach_back(self, device: str, sensor: str | None, items: Sequence[Observed]) -> None:
        """Move the start of a device or sensor back to its values; where that cannot be, each value says so itself."""
        with suppress(Problem):
            events = self.events.get(Target(device, sensor), [])
            await reach_back(self.core, self.patient_id, device, sensor, items, events)

    async def _give_key(self, item: Observed, targets: dict[int, Target | None]) -> None:
        """Find the key of a measurement, by which others may refer to it, and put its device into `targets`."""
        target = await self.directory.target(item.device) if item.device else None
        device = target and target.device_key
        key = await self._key_of_corrected(item, device) if item.corrects else None
        self.directory.measurement_keys[item.entry.index] = key or item.key(device)
        targets[item.entry.index] = target  # not before: what has no key is refused, and not asked for again

    async def _key_of_corrected(self, item: Observed, device: str | None) -> str | None:
        """The key of the only measurement that a correction without identifier can mean, by code, device and time."""
        code = item.code.system, item.code.code
        found = await known_ids.measurement_keys_at(self.core.pool, self.patient_id, code, device, item.earliest_ms)
        return found[0] if len(found) == 1 else None

    async def _add_body(
        self, item: Observed, target: Target | None, items: list[tuple[Observed, dict[str, Any]]]
    ) -> None:
        """Put the measurement into `items`, with its body for the JSON API."""
        body = {"key": self.directory.measurement_keys[item.entry.index], **item.body}
        if target is not None:
            body["device"] = target.device_key
            if target.sensor_key is not None and item.code.kind != "reference":
                body["sensor"] = target.sensor_key
        if item.code.kind == "relative":  # others name the coincident time stamp there, or what they came with
            sources = [text for text in item.derived_from if not self._is_time_stamp(text)]
            body["derivedFrom"] = [await self.directory.measurement(text) for text in sources]
        items.append((item, body))

    def _is_time_stamp(self, text: str) -> bool:
        entry = self.directory.names.get(text)
        return entry is not None and is_time_stamp(entry.fields)


def split(items: Sequence[Observed], most: int) -> Iterator[list[Observed]]:
    """`items` in their order, in parts of at most `most` readings; one that has more is a part of its own."""
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
