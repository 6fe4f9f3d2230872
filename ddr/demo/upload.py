"""The uploads of the patients' gateway apps: simulated sensors or a trace, and single measurements."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ddr.demo.accounts import Account
from ddr.demo.cast import Device, glucose_device, second_device, trace_device
from ddr.demo.sensor import GlucoseSensor, Sample
from ddr.demo.stack import DemoStack
from ddr.demo.trace import Trace
from ddr.durations import DAY_MS

AT_ONCE = 4
UNITS = ("mg/dL", "mmol/L")


@dataclass(frozen=True)
class Sent:
    """What one device has sent, and the recorder's response."""

    patient: str
    device: Device
    kind: str
    answer: Counter[str]
    samples: tuple[Sample, ...] = ()  # kept for the first patient's glucose sensor only
    trace: Trace | None = None  # the replayed one
    rejected: Mapping[int, str] = field(default_factory=dict)  # position of a reading → why it was rejected


async def send_everything(
    stack: DemoStack, start_ms: int, now_ms: int, traces: Sequence[Trace], done: Callable[[int], None] = lambda _: None
) -> list[Sent]:
    """Let all gateways upload, a few at once; the first patients wear the sensors of `traces`.

    `done` is called with the number of readings sent.
    """
    limit = asyncio.Semaphore(AT_ONCE)

    async def send(index: int, patient: Account) -> list[Sent]:
        async with limit:
            trace = traces[index] if index < len(traces) else None
            glucose = await _send_glucose(stack, index, patient, start_ms, now_ms, trace, done)
            return [glucose, await _send_measurements(stack, index, patient, start_ms, now_ms)]

    sent = await asyncio.gather(*(send(index, patient) for index, patient in enumerate(stack.patients)))
    return [one for pair in sent for one in pair]


async def _send_glucose(
    stack: DemoStack,
    index: int,
    patient: Account,
    start_ms: int,
    now_ms: int,
    trace: Trace | None,
    done: Callable[[int], None],
) -> Sent:
    if trace:
        device, samples = trace_device(trace), trace.samples
    else:
        sensor = GlucoseSensor(index, start_ms, UNITS[index % 2])
        device, samples = glucose_device(index, sensor), tuple(sensor.samples(now_ms))
    gateway = stack.gateway(patient)
    await gateway.register(device.key, device.body, device.sensors)
    ((sensor_key, metric),) = device.sensors.items()
    rejected: dict[int, str] = {}
    answer = await gateway.push_readings(device.key, sensor_key, metric["unit"], samples, done, rejected)
    kept = tuple(sample for place, sample in enumerate(samples) if place not in rejected) if index == 0 else ()
    return Sent(patient.username, device, "readings", answer, kept, trace, rejected)


async def _send_measurements(stack: DemoStack, index: int, patient: Account, start_ms: int, now_ms: int) -> Sent:
    device, gateway = second_device(index, start_ms, now_ms), stack.gateway(patient)
    await gateway.register(device.key, device.body, device.sensors)
    answer = await gateway.push_measurements(device.measurements)
    return Sent(patient.username, device, "measurements", answer)


def kept_start(state_dir: Path, days: int, now_ms: int) -> int:
    """The start of the simulated devices, in milliseconds: `days` before the first run with this state directory."""
    file = state_dir / "demo-start.json"
    if not file.exists():
        file.write_text(json.dumps(now_ms // 60_000 * 60_000 - days * DAY_MS), "utf-8")
    start_ms: int = json.loads(file.read_text("utf-8"))
    return start_ms
