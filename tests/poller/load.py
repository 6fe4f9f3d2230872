"""What the patients' apps send meanwhile: new values, corrections, deletions; acknowledged ones must be there."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress

import httpx

from ddr.demo.accounts import Account
from ddr.demo.gateway_client import GatewayClient, GatewayRefused, instant
from ddr.demo.stack import DemoStack

METER = {"serialNumber": "M-1", "name": "Meter", "manufacturer": "M", "startedAt": "2026-01-01T00:00:00Z"}


class App:
    """The app of one patient, with a meter."""

    def __init__(self, stack: DemoStack, patient: Account) -> None:
        self._http, self._gateway = stack.http, stack.gateway(patient)
        self._base = f"{stack.settings.gateway_base_url}/gateway/v1/measurements"
        self._headers = {"authorization": f"Bearer {patient.gateway_token}"}
        self._sent = 0

    @property
    def gateway(self) -> GatewayClient:
        """For devices."""
        return self._gateway

    async def begin(self) -> None:
        """The device and a first value."""
        await self._gateway.register("meter", METER, {})
        await self._put(0, 100)
        self._sent = 1

    async def act(self, chance: random.Random) -> str:
        """Something that a day brings; what it was."""
        roll = chance.random()
        if roll < 0.7:
            await self._put(self._sent, chance.randrange(60, 300))
            self._sent += 1
            return "new"
        number = chance.randrange(self._sent)
        if roll < 0.9:
            await self._put(number, chance.randrange(60, 300))
            return "corrected"
        answer = await self._http.delete(f"{self._base}/m{number}", headers=self._headers)
        return "deleted" if answer.is_success else "absent"

    async def _put(self, number: int, value: int) -> None:
        at_ms = (int(time.time()) - 86_400 + number * 60) * 1000
        body = {"code": "2339-0", "unit": "mg/dL", "value": value, "device": "meter", "effective": instant(at_ms)}
        answer = await self._http.put(f"{self._base}/m{number}", headers=self._headers, json=body)
        if answer.is_error:
            raise GatewayRefused(str(answer.status_code))


async def send(apps: Sequence[App], chance: random.Random, pause: float, done: dict[str, int]) -> None:
    """One act after another, until cancelled. What a killed worker leaves open may or may not have happened."""
    while True:
        with suppress(httpx.TransportError, GatewayRefused):
            what = await chance.choice(apps).act(chance)
            done[what] = done.get(what, 0) + 1
        await asyncio.sleep(pause * chance.uniform(0.5, 1.5))
