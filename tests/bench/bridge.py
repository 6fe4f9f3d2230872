"""Requests of a cloud bridge: readings per second, from receiving a request to its response after the commit."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from statistics import median
from typing import Any
from uuid import uuid4

import orjson

from ddr.fhir.instants import date_time
from ddr.gateway.app import create_gateway
from ddr.http.core import Core
from ddr.store.gateways import certificates as gateway_certificates
from ddr.store.gateways.certificates import Facts
from tests.bench.bare import bare_updates
from tests.bench.figure import Figure, Goal, spread_of
from tests.gateway.conftest import CGM
from tests.support.clock import Clock

PATIENTS, SIZE, ROUNDS = 2000, 12, 5
PERIOD = 300_000
LEAST = Goal(least=0.5)
AT_ONCE = 8
SENSOR = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": PERIOD}


class Bridge:
    """A bridge: requests straight into the application, without TLS and network."""

    def __init__(self, core: Core, certificate: bytes) -> None:
        self.app = create_gateway(core)
        self.extensions = {"tls": {"client_cert_der": certificate}}

    async def request(self, method: str, path: str, body: bytes, account: str | None = None) -> bytes:
        """The body of the answer."""
        headers = [(b"content-type", b"application/json")]
        if account:
            headers.append((b"patient-account", account.encode()))
        scope = {"type": "http", "method": method, "path": f"/gateway/v1/{path}", "headers": headers, "client": None}
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app({**scope, "extensions": self.extensions}, receive, send)
        assert sent[0]["status"] < 300, sent[1]["body"]
        answer: bytes = sent[1]["body"]
        return answer


async def run(core: Core) -> list[Figure]:
    """Two figures: every hour the bridge sends what the sensors of its patients measured in that hour."""
    clock = Clock(core.clock() // 1000 * 1000)
    core, certificate = replace(core, clock=clock, steer=clock), secrets.token_bytes(32)
    await gateway_certificates.add(core.pool, certificate, Facts(certificate.hex(), clock() + 86_400_000), clock())
    bridge, start = Bridge(core, certificate), clock()
    accounts = await _registered(core, bridge, start)
    begun = PATIENTS / await _seconds(bridge, _body(accounts, start, 1), 1)
    rates = []
    for _ in range(ROUNDS):
        first = clock() + PERIOD
        clock.advance(SIZE * PERIOD / 1000)
        rates.append(PATIENTS / await _seconds(bridge, _body(accounts, first, SIZE), SIZE))
    patients = [
        row[0] for row in await core.pool.fetch("SELECT patient_id FROM account WHERE username = ANY($1)", accounts)
    ]
    floor = await bare_updates(core.pool, patients, SIZE, 2, AT_ONCE)
    text = f"sensors in a bridge's request of {PATIENTS:,} patients, {SIZE} readings each, against bare UPDATEs"
    rate = median(rates)
    return [
        Figure("bridge", text, rate, "sensors/s", floor, rate / floor, LEAST, spread_of(rates)),
        Figure("bridge_begun", "the same, sensors that begin a chunk", begun, "sensors/s", floor, begun / floor),
    ]


async def _seconds(bridge: Bridge, body: bytes, count: int) -> float:
    """How long a request takes with `count` new readings of every patient."""
    began = time.perf_counter()
    answer = await bridge.request("POST", "bridge/readings", body)
    seconds = time.perf_counter() - began
    assert orjson.loads(answer)["accepted"] == PATIENTS * count
    return seconds


async def _registered(core: Core, bridge: Bridge, start_ms: int) -> list[str]:
    """New patients with a built-in account and a sensor."""
    gate, accounts = asyncio.Semaphore(AT_ONCE), [f"bridged-{secrets.token_hex(8)}" for _ in range(PATIENTS)]

    async def register(account: str) -> None:
        patient_id = uuid4()
        async with gate:
            await core.pool.execute("INSERT INTO patient VALUES ($1, 0)", patient_id)
            await core.pool.execute("INSERT INTO account VALUES ($1, $2, '', 0)", account, patient_id)
            device = orjson.dumps({**CGM, "startedAt": date_time(start_ms)})
            await bridge.request("PUT", "devices/cgm", device, account)
            await bridge.request("PUT", "devices/cgm/sensors/s", orjson.dumps(SENSOR), account)

    await asyncio.gather(*(register(account) for account in accounts))
    return accounts


def _body(accounts: list[str], first_ms: int, count: int) -> bytes:
    """A request with `count` readings of every patient."""
    readings = [{"time": date_time(first_ms + at * PERIOD), "value": 100 + at} for at in range(count)]
    part = {"device": "cgm", "sensor": "s", "unit": "mg/dL", "readings": readings}
    return orjson.dumps({"patients": [{"account": account, **part} for account in accounts]})
