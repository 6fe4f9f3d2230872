"""A gateway app: registers devices and sensors, pushes readings and measurements in batches (gateway API v1)."""

from __future__ import annotations

from asyncio import sleep
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import httpx
import orjson

from ddr.demo.sensor import Sample

BATCH = 5_000
PATIENCE_SECONDS = 60  # for a recorder that says when to retry, as one that has just started does

Json = Mapping[str, Any]


class GatewayRefused(Exception):
    """The recorder refused a request; the message has its status and reason."""


class GatewayClient:
    """The gateway of one patient's account; `base` is the URL of the gateway listener."""

    def __init__(self, http: httpx.AsyncClient, base: str, token: str) -> None:
        self._http, self._base = http, f"{base}/gateway/v1"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    async def register(self, device_key: str, device: Json, sensors: Mapping[str, Json]) -> None:
        """Register a device with its sensors; repeating it changes nothing."""
        await self._send("PUT", f"/devices/{device_key}", device)
        for sensor_key, sensor in sensors.items():
            await self._send("PUT", f"/devices/{device_key}/sensors/{sensor_key}", sensor)

    async def push_readings(
        self,
        device_key: str,
        sensor_key: str,
        unit: str,
        samples: Iterable[Sample],
        done: Callable[[int], None] = lambda _: None,
        rejected: dict[int, str] | None = None,
    ) -> Counter[str]:
        """Upload readings in batches; returns how many were accepted, duplicate, rejected.

        `done` is called with the number sent so far, `rejected` with position and reason of each rejected reading.
        """
        totals: Counter[str] = Counter()
        for batch in _batches(samples):
            before = totals.total()
            readings = [{"time": instant(at_ms), "value": value} for at_ms, value in batch]
            path = f"/devices/{device_key}/sensors/{sensor_key}/readings"
            answer = await self._send("POST", path, {"unit": unit, "readings": readings})
            totals.update({name: answer[name] for name in ("accepted", "duplicate", "rejected")})
            for place, item in enumerate(answer["items"], before):
                if rejected is not None and item["status"] == "rejected":
                    rejected[place] = f"{item['reason']}: {item['detail']}"
            done(len(batch))
        return totals

    async def push_measurements(self, measurements: Sequence[Json]) -> Counter[str]:
        """Upload single measurements; returns how many were created, updated, unchanged, rejected."""
        totals: Counter[str] = Counter()
        for batch in _batches(measurements):
            answer = await self._send("POST", "/measurements", {"measurements": batch})
            totals.update({name: answer[name] for name in ("created", "updated", "unchanged", "rejected")})
        return totals

    async def calibrate(self, device_key: str, sensor_key: str, events: Sequence[Json]) -> None:
        """Report calibrations. Raises GatewayRefused also when one of them is rejected."""
        path = f"/devices/{device_key}/sensors/{sensor_key}/calibrations"
        answer = await self._send("POST", path, {"calibrations": events})
        if bad := [item for item in answer["items"] if item["status"] == "rejected"]:
            raise GatewayRefused(f"POST {path}: {bad[0]}")

    async def complete(self, device_key: str, sensor_key: str, until_ms: int) -> None:
        """Report that everything up to an instant was sent."""
        await self._send("POST", f"/devices/{device_key}/sensors/{sensor_key}/complete", {"until": instant(until_ms)})

    async def _send(self, method: str, path: str, body: Json) -> dict[str, Any]:
        waited, content = 0, orjson.dumps(body)
        while True:
            response = await self._http.request(method, self._base + path, content=content, headers=self._headers)
            told = response.headers.get("retry-after", "")
            wait = max(1, int(told)) if told.isdecimal() else PATIENCE_SECONDS + 1
            if response.status_code not in (429, 503) or waited + wait > PATIENCE_SECONDS:
                break
            await sleep(wait)
            waited += wait
        if response.is_error:
            raise GatewayRefused(f"{method} {path}: {response.status_code} {response.text}")
        answer: dict[str, Any] = orjson.loads(response.content)
        return answer


def instant(ms: int) -> str:
    """FHIR instant in UTC."""
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def _batches(items: Iterable[Any]) -> Iterable[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch
