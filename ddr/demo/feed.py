"""Keeps sending data while the demonstration serves: first what was held back, faster than it was measured, then each
value when it is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from ddr.demo.accounts import Account
from ddr.demo.cast import glucose_device, second_device
from ddr.demo.gateway_client import GatewayRefused
from ddr.demo.sensor import GlucoseSensor
from ddr.demo.stack import DemoStack
from ddr.demo.upload import UNITS
from ddr.durations import DAY_MS
from ddr.http.clock import now_ms

PAUSE_SECONDS = 2.0


def held_from(start_ms: int, now_ms: int) -> int:
    """The beginning of the held-back data: the last day, or the last half of a shorter history."""
    return now_ms - min(DAY_MS, (now_ms - start_ms) // 2)


@dataclass
class Feed:
    """The gateways of the patients from number `first` on (those before it replay recorded traces).

    Data from `from_ms` on is sent `factor` times as fast as it was measured.
    """

    stack: DemoStack
    start_ms: int
    from_ms: int
    factor: float
    first: int = 0
    caught_up: Callable[[], None] = lambda: None
    _sent_until: dict[int, int] = field(default_factory=dict)  # by number of the patient

    async def run(self) -> None:
        """Send until cancelled. Data that is refused or lost is sent again with the next."""
        began, behind = now_ms(), True
        while True:
            now = now_ms()
            until = min(now, self.from_ms + int((now - began) * self.factor))
            if behind and until == now:
                behind = False
                self.caught_up()
            for index, patient in enumerate(self.stack.patients):
                try:
                    await self._send(index, patient, until)
                except (GatewayRefused, httpx.HTTPError):
                    continue
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, index: int, patient: Account, until_ms: int) -> None:
        after_ms = self._sent_until.get(index, self.from_ms)
        gateway = self.stack.gateway(patient)
        if index >= self.first:
            sensor = GlucoseSensor(index, self.start_ms, UNITS[index % 2])
            device = glucose_device(index, sensor)
            (key,) = device.sensors
            samples = [sample for sample in sensor.samples(until_ms) if sample[0] > after_ms]
            if samples:
                await gateway.push_readings(device.key, key, sensor.unit, samples)
        known = {one["key"] for one in second_device(index, self.start_ms, after_ms).measurements}
        all_now = second_device(index, self.start_ms, until_ms).measurements
        fresh = [one for one in all_now if one["key"] not in known]
        if fresh:
            await gateway.push_measurements(fresh)
        self._sent_until[index] = until_ms
