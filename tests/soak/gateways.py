"""Well-behaved gateways: readings in any order, some of them twice, calibrations, changed ends, single measurements."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ddr.demo.gateway_client import instant
from tests.soak.caller import Caller

MINUTE, DAY = 60_000, 86_400_000
DAYS = 24  # that a sensor was worn when the soak begins
BATCH = 3
MIX = 8  # batches whose order is shuffled
BATCHES = DAYS * 24 * 60 // BATCH
CALIBRATE_EVERY, EXPIRE_EVERY, MEASURE_EVERY = 397, 61, 5
Json = dict[str, Any]


def value_at(time_ms: int) -> int:
    """What the sensor measured."""
    return 60 + time_ms // MINUTE * 7919 % 200


@dataclass
class Gateway:
    """One patient's gateway. Instants in milliseconds; `pause` in seconds."""

    caller: Caller
    base: str
    token: str
    start_ms: int
    pause: float
    chance: random.Random
    answered: dict[int, int] = field(default_factory=dict)  # readings by their instant
    measured: set[int] = field(default_factory=set)  # instants of single measurements
    states: list[str] = field(default_factory=lambda: ["calibrated"])

    async def register(self) -> None:
        """A sensor and a meter."""
        begun = {"state": "calibrated", "type": "unspecified", "time": instant(self.start_ms)}
        sensor = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": MINUTE, "calibration": begun}
        await self._send("PUT", "devices/cgm", self._device("CGM"))
        await self._send("PUT", "devices/cgm/sensors/s", sensor)
        await self._send("PUT", "devices/meter", self._device("BG"))
        await self._send(
            "PUT", "devices/meter/sensors/strip", {"code": "41653-7", "unit": "mg/dL", "calibration": begun}
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop, or until everything is sent."""
        for number, batch in zip(count(1), self._batches(), strict=False):
            if stop.is_set():
                return
            await self._readings(batch)
            if self.chance.random() < 0.1:
                await self._readings(batch)
            if number % MEASURE_EVERY == 0:
                await self._measure(batch[0])
            if number % CALIBRATE_EVERY == 0:
                await self._calibrate(batch[0])
            if number % EXPIRE_EVERY == 0:
                expires = instant(self.start_ms + (60 + number % 50) * DAY)
                await self._send("PUT", "devices/cgm", {**self._device("CGM"), "expirationDate": expires})
            await asyncio.sleep(self.pause * self.chance.uniform(0.5, 1.5))

    def _batches(self) -> list[list[int]]:
        """Instants of readings: near the right order, and never quite."""
        found = [[self.start_ms + (at * BATCH + one + 1) * MINUTE for one in range(BATCH)] for at in range(BATCHES - 1)]
        for at in range(0, len(found), MIX):
            part = found[at : at + MIX]
            self.chance.shuffle(part)
            found[at : at + MIX] = part
        return found

    async def _readings(self, batch: list[int]) -> None:
        items = [{"time": instant(time), "value": value_at(time)} for time in batch]
        answer = await self._send("POST", "devices/cgm/sensors/s/readings", {"unit": "mg/dL", "readings": items})
        if answer.get("rejected") != 0:
            self.caller.ledger.found("readings are not taken", str(answer)[:300])
        else:
            self.answered.update((time, value_at(time)) for time in batch)

    async def _measure(self, time: int) -> None:
        body = {"code": "41653-7", "effective": instant(time), "value": value_at(time), "unit": "mg/dL"}
        body |= {"device": "meter", "sensor": "strip"}
        await self._send("PUT", f"measurements/m{time}", body)
        self.measured.add(time)

    async def _calibrate(self, time: int) -> None:
        state = "not-calibrated" if self.states[-1] == "calibrated" else "calibrated"
        event = {"time": instant(time), "state": state}
        await self._send("POST", "devices/cgm/sensors/s/calibrations", {"calibrations": [event]})
        self.states.append(state)

    def _device(self, serial: str) -> Json:
        return {
            "serialNumber": serial,
            "name": "Soak",
            "manufacturer": "Muster AG",
            "type": "700585005" if serial == "CGM" else "337414009",
            "startedAt": instant(self.start_ms),
        }

    async def _send(self, method: str, path: str, body: Json) -> Json:
        headers = {"authorization": f"Bearer {self.token}"}
        answer = await self.caller.until_answered(method, f"{self.base}/gateway/v1/{path}", json=body, headers=headers)
        if answer.is_error:
            self.caller.ledger.found(
                "a gateway is refused", f"{method} {path} {answer.status_code} {answer.text[:200]}"
            )
            return {}
        content: Json = answer.json()
        return content
