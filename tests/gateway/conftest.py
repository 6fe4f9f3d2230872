"""A gateway client of one patient, with every response checked against the OpenAPI document."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ddr.gateway.app import create_gateway
from ddr.http.core import Core
from ddr.store.gateways import tokens as gateway_tokens
from tests.gateway.contract import check_answer

Client = httpx.AsyncClient

METER = {
    "serialNumber": "SN123456",
    "name": "GlukkoCheck plus mg/dL",
    "manufacturer": "Glukko Inc.",
    "type": "337414009",
}
CGM = {"serialNumber": "CGM1234567890", "name": "GlukkoCGM 18", "manufacturer": "Glukko Inc.", "type": "700585005"}
START = "2026-10-01T00:00:00Z"


def make_client(core: Core, token: str | None) -> Client:
    """A client with this token; every response must be one that the API's description knows."""
    return Client(
        transport=httpx.ASGITransport(create_gateway(core)),
        base_url="https://gateway/gateway/v1",
        headers={"authorization": f"Bearer {token}"} if token else {},
        event_hooks={"response": [check_answer]},
    )


@pytest.fixture
async def token(core: Core, patient_id: uuid.UUID) -> str:
    """A token of the patient's gateway."""
    return await gateway_tokens.create(core.pool, patient_id, core.clock())


@pytest.fixture
async def client(core: Core, token: str) -> AsyncIterator[Client]:
    """The gateway of the patient."""
    async with make_client(core, token) as client:
        yield client


@pytest.fixture
async def stranger(core: Core) -> AsyncIterator[Client]:
    """The gateway of another patient."""
    other = uuid.uuid4()
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", other)
    async with make_client(core, await gateway_tokens.create(core.pool, other, core.clock())) as client:
        yield client


@pytest.fixture
async def cgm(client: Client) -> Client:
    """The patient's gateway, with a continuous sensor that began an hour ago."""
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose", startedAt="2026-11-22T09:00:00Z")
    return client


async def put_device(client: Client, key: str, **members: Any) -> httpx.Response:
    """Register a blood glucose meter, with these `members`."""
    return await client.put(f"/devices/{key}", json={**METER, "startedAt": START, **members})


async def put_sensor(client: Client, device: str, key: str, **members: Any) -> httpx.Response:
    """Register a continuous glucose sensor, with these `members`; those that are None are left out."""
    sensor = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000, **members}
    body = {name: value for name, value in sensor.items() if value is not None}
    return await client.put(f"/devices/{device}/sensors/{key}", json=body)
