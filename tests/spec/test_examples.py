"""Every Observation, Device and DeviceMetric example of the specification, sent by a gateway and read by a DiGA.

They come back equal except for ids, narrative, meta beside the profile, and these differences:
- References are compared through the ids of their targets; a Device's definition, relative in the examples, is the
  absolute URL that DEV-023 requires, and a blood pressure's subject is the pseudonym that BP-020 requires.
- Periods are compared as instants. Some examples end a chunk with the start of the next one; a FHIR period includes its
  end, so ours ends a second earlier (SER-021), as the first CGM example does, too.

All dates of an example are moved by the same number of days, to the day at which the recorder's clock stands. The
examples of the CGM summary are results of an operation and cannot be sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import asyncpg
import pytest

from ddr.fhir.instants import date_time, parse_instant
from ddr.settings import Settings
from tests.spec import examples
from tests.spec.conftest import received
from tests.spec.examples import Examples
from tests.spec.world import BG, BP, CGM, DAY, HOUR, LF, MINUTE, Home, Json, entries, paired
from tests.support.recorder import Recorder, recorder

pytestmark = pytest.mark.validator  # needs the artifacts

OBSERVATIONS = {
    "example-blood-glucose": BG,
    "example-blood-glucose-measurement-1": BG,
    "example-blood-glucose-measurement-2": BG,
    "example-blood-pressure-value": BP,
    "example-blood-pressure-value-with-device-metric": BP,
    "example-cgm-series": CGM,
    "example-cgm-series-1": CGM,
    "example-cgm-series-data-unavailable": CGM,
    "example-cgm-series-incomplete": CGM,
    "example-fev1-reference-value": LF,
    "example-fev1-relative-value": LF,
    "example-fev1-single-measurement": LF,
    "example-peak-flow-simple": LF,
}
# Each with an Observation through which a DiGA finds it, at a time before the device expires.
DEVICES = {
    "Device/example-device-blood-pressure-cuff": "example-blood-pressure-value",
    "Device/example-device-cgm": "example-cgm-series-incomplete",
    "Device/example-device-peak-flow-meter": "example-peak-flow-simple",
    "Device/example-glucometer": "example-blood-glucose-measurement-1",
    "DeviceMetric/example-blood-pressure-metric": "example-blood-pressure-value-with-device-metric",
    "DeviceMetric/example-devicemetric-cgm": "example-cgm-series-incomplete",
    "DeviceMetric/example-glucometer-metric": "example-blood-glucose-measurement-1",
}
TODAY = date(2026, 11, 23)
SPANS = (HOUR, 2 * HOUR)  # of the chunks in the examples


@pytest.fixture(scope="module")
async def recorders(
    pool: asyncpg.Pool, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[int, Recorder]]:
    """A recorder for each chunk span, in milliseconds."""
    async with AsyncExitStack() as stack:
        running = {}
        for span in SPANS:
            changed = replace(settings, chunk_span_seconds=span // 1000)
            folder = tmp_path_factory.mktemp("examples")
            running[span] = await stack.enter_async_context(recorder(pool, changed, folder, received, {}))
        yield running


@dataclass
class Stage:
    """A patient whose gateway sends examples; `ids` maps the reference of an example to that of the served resource."""

    home: Home
    examples: Examples
    ids: dict[str, str] = field(default_factory=dict)

    async def measured(self, name: str) -> None:
        """Send the single measurement of an example, and those it is derived from."""
        observation = self.examples.load(f"Observation/{name}")
        sources = [each["reference"].partition("/")[2] for each in observation.get("derivedFrom", ())]
        for source in sources:
            await self.measured(source)
        found = await self.home.measure(
            name,
            **examples.measurement(observation),
            **await self.register(observation),
            **({"derivedFrom": sources} if sources else {}),
        )
        self.ids[f"Observation/{name}"] = f"Observation/{found}"

    async def series(self, name: str) -> None:
        """Send those readings of an example that have been measured by then."""
        observation = self.examples.load(f"Observation/{name}")
        key = (await self.register(observation))["device"]
        start_ms = parse_instant(observation["effectivePeriod"]["start"])
        readings = [
            {"time": date_time(start_ms + number * examples.step(observation)), "value": value}
            for number, value in enumerate(examples.values(observation))
        ]
        body = {"unit": "mg/dL", "readings": readings}
        response = await self.home.patient.gateway.post(f"devices/{key}/sensors/s/readings", json=body)
        assert response.json()["rejected"] == 0

    async def register(self, observation: Json) -> Json:
        """The device, and the sensor if there is a DeviceMetric; as members of a measurement."""
        device, metric = self.examples.origin(observation)
        key: str = device["id"]
        self.ids[f"Device/{key}"] = f"Device/{await self.home.device(key, **examples.device(device))}"
        if metric is None:
            return {"device": key}
        found = await self.home.sensor(key, **examples.sensor(metric, observation))
        self.ids[f"DeviceMetric/{metric['id']}"] = f"DeviceMetric/{found}"
        return {"device": key, "sensor": "s"}


async def replayed(recorders: dict[int, Recorder], name: str) -> tuple[Stage, list[Json]]:
    """Send an Observation example at its time; returns what a DiGA then finds and includes."""
    moved = Examples.moved(f"Observation/{name}", TODAY)
    example = moved.load(f"Observation/{name}")
    start_ms, span = at(example)
    ddr = recorders[span]
    ddr.clock.ms = start_ms
    stage = Stage(Home(ddr, await ddr.patient()), moved)
    if OBSERVATIONS[name] == CGM:
        await stage.register(example)
        ddr.clock.ms += max(len(examples.values(example)) * examples.step(example), 30 * MINUTE)
        await stage.series(name)
    else:
        await stage.measured(name)
    reader = await paired(ddr, stage.home.patient, OBSERVATIONS[name])
    code = example["code"]["coding"][0]["code"]
    includes = "_include=Observation:device&_include=Observation:derived-from&_include:iterate=DeviceMetric:source"
    bundle = await reader.search(f"Observation?code={code}&{includes}")
    (match,) = entries(bundle)
    return stage, [match, *entries(bundle, "include")]


def at(example: Json) -> tuple[int, int]:
    """When an Observation example begins, and the span of its chunk."""
    if "effectiveDateTime" in example:
        return parse_instant(example["effectiveDateTime"]), HOUR
    bounds = example["effectivePeriod"]
    if "end" not in bounds:  # a reference value in force
        return parse_instant(f"{bounds['start']}T00:00:00Z") + DAY, HOUR
    start_ms, end_ms = parse_instant(bounds["start"]), parse_instant(bounds["end"])
    return start_ms, -((start_ms - end_ms) // HOUR) * HOUR


def comparable(resource: Json, ids: dict[str, str]) -> Json:
    """A resource without the differences listed above; references of an example are resolved with `ids`."""
    found = {name: value for name, value in resource.items() if name not in {"id", "text", "meta", "subject"}}
    for name in ("device", "source"):
        if name in found:
            reference = found[name]["reference"]
            found[name] = {"reference": ids.get(reference, reference)}
    if "derivedFrom" in found:
        found["derivedFrom"] = [{"reference": ids.get(e["reference"], e["reference"])} for e in found["derivedFrom"]]
    if "definition" in found:
        found["definition"] = found["definition"]["reference"].rpartition("/")[2]
    if "end" in found.get("effectivePeriod", ()):
        start_ms, end_ms = (parse_instant(found["effectivePeriod"][name]) for name in ("start", "end"))
        found["effectivePeriod"] = {"start": start_ms, "end": end_ms - (end_ms % MINUTE == 0) * 1000}
    return found


def same(served: Json, example: Json, ids: dict[str, str]) -> None:
    """Compare both, and the profile where the example states one."""
    assert comparable(served, {}) == comparable(example, ids)
    if "meta" in example:
        assert served["meta"]["profile"] == example["meta"]["profile"]


def test_no_example_is_forgotten() -> None:
    known: dict[str, Any] = {f"Observation/{name}": miv for name, miv in OBSERVATIONS.items()} | DEVICES
    found = [
        path.stem.replace("-", "/", 1)
        for kind in ("Observation", "Device", "DeviceMetric")
        for path in examples.folder().glob(f"{kind}-*.json")
    ]
    assert {name for name in found if "/cgmSummary" not in name} == set(known)


@pytest.mark.parametrize("name", OBSERVATIONS)
async def test_observation(recorders: dict[int, Recorder], name: str) -> None:
    stage, resources = await replayed(recorders, name)
    same(resources[0], stage.examples.load(f"Observation/{name}"), stage.ids)


@pytest.mark.parametrize("reference", DEVICES)
async def test_device(recorders: dict[int, Recorder], reference: str) -> None:
    stage, resources = await replayed(recorders, DEVICES[reference])
    by_reference = {f"{resource['resourceType']}/{resource['id']}": resource for resource in resources}
    same(by_reference[stage.ids[reference]], stage.examples.load(reference), stage.ids)
