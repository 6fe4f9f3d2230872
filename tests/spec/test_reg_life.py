"""The life of a DiGA and of a ValueSet, seen on the wire at each of two workers within one refresh."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.demo import certs
from ddr.demo.cast import GLUKOBUCH
from ddr.demo.diga_client import DigaClient, DigaRefused, Tokens
from ddr.demo.recorder import write_settings
from ddr.demo.registry_state import Package
from ddr.demo.registry_zts import PACKAGE, valuesets
from ddr.demo.stack import DemoStack
from ddr.demo.tls import client_context
from ddr.fhir.instants import date_time
from ddr.http.clock import now_ms
from tests.spec.world import BG

pytestmark = pytest.mark.slow

ROUNDS = 8  # requests, each on its own connection: the kernel spreads them over the workers
PATIENCE = 60  # seconds: for the worker that reads, the one that follows, and the TLS context
CGM = "continuous-glucose-measurement"
NEW, GONE = "32016-8", "2339-0"
Json = dict[str, Any]


@pytest.fixture
async def tokens(stack: DemoStack) -> Tokens:
    """A new pairing of a patient with GlukoBuch."""
    return await stack.pair(GLUKOBUCH, stack.patients[0], (BG, CGM))


async def every_worker(probe: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Wait until `probe`, which opens a connection of its own each time, finds `wanted` twice ROUNDS times.

    The connections of a round are opened at once: one after another, a single worker may take them all.
    """
    found: list[object] = []
    good = 0
    for _ in range(PATIENCE * 4):
        found = await asyncio.gather(*(probe() for _ in range(ROUNDS)))
        good = good + 1 if all(one == wanted for one in found) else 0
        if good == 2:
            return
        await asyncio.sleep(0.25)
    pytest.fail(f"{wanted!r} expected of every worker, got {found}")


def presenting(stack: DemoStack, pair: certs.Pair) -> Callable[[], httpx.AsyncClient]:
    """Makes clients with this certificate; each has a connection of its own."""
    context = client_context(stack._authority.cert, pair)
    return lambda: httpx.AsyncClient(verify=context, timeout=30)


def searching(
    stack: DemoStack, tokens: Tokens, pair: certs.Pair, code: str = "2339-0"
) -> Callable[[], Awaitable[int | str]]:
    """A probe: the status of a search, or the name of the error of the connection."""
    connect = presenting(stack, pair)

    async def probe() -> int | str:
        headers = {"authorization": f"Bearer {tokens.access_token}"}
        async with connect() as http:
            try:
                url = f"{stack.settings.fhir_base}/Observation?code={GONE}"
                return (await http.get(url, headers=headers)).status_code
            except (httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError, ssl.SSLError):
                return "handshake failed"

    return probe


def pushing(stack: DemoStack, pair: certs.Pair, redirect_uri: str, *mivs: str) -> Callable[[], Awaitable[int]]:
    """A probe: the status of a pushed authorization request."""
    connect = presenting(stack, pair)

    async def probe() -> int:
        async with connect() as http:
            settings = stack.settings
            client = DigaClient(http, GLUKOBUCH.client_id, redirect_uri, settings.public_base_url, settings.fhir_base)
            try:
                await client.push_request(stack.scopes(*mivs))
            except DigaRefused as error:
                return error.status
            return 201

    return probe


@pytest.mark.requirement("REG-011", "REG-005", "REG-007")
async def test_the_life_of_a_diga(stack: DemoStack, tokens: Tokens) -> None:
    diga = next(one for one in stack.registry.digas if one.number == GLUKOBUCH.number)
    old, new = stack.certificate(GLUKOBUCH), certs.client_certificate(stack.options.state_dir / "certs", "rolled")
    redirect = diga.redirect_uri

    await every_worker(searching(stack, tokens, old), 200)
    await every_worker(searching(stack, tokens, new), "handshake failed")

    diga.certificates = [old.der, new.der]
    await stack.refresh_registry()
    await every_worker(searching(stack, tokens, new), 200)
    await every_worker(searching(stack, tokens, old), 200)

    diga.certificates = [new.der]
    await stack.refresh_registry()
    await every_worker(searching(stack, tokens, old), "handshake failed")
    await every_worker(searching(stack, tokens, new), 200)

    diga.redirect_uri = "https://moved.example/cb"
    await stack.refresh_registry()
    await every_worker(pushing(stack, new, redirect, BG), 400)
    await every_worker(pushing(stack, new, "https://moved.example/cb", BG), 201)
    diga.redirect_uri = redirect

    diga.mivs = []
    await stack.refresh_registry()
    await every_worker(searching(stack, tokens, new), 404)
    await every_worker(pushing(stack, new, redirect, BG), 400)

    diga.status = "retired"
    await stack.refresh_registry()
    await every_worker(searching(stack, tokens, new), 401)
    await every_worker(pushing(stack, new, redirect, BG), 401)
    assert await alive(stack.pool) == 0

    diga.status, diga.certificates = "active", [old.der]
    diga.mivs = stack._valuesets(GLUKOBUCH)
    await stack.refresh_registry()
    await every_worker(searching(stack, tokens, old), 401)
    again = await stack.pair(GLUKOBUCH, stack.patients[0], (BG,))
    assert again.pairing_id != tokens.pairing_id


async def alive(pool: asyncpg.Pool) -> int:
    """How many pairings GlukoBuch has."""
    found: int = await pool.fetchval(
        "SELECT count(*) FROM pairing WHERE client_id = $1 AND ended_ms IS NULL", GLUKOBUCH.client_id
    )
    return found


async def ddr(stack: DemoStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An operator's command with the recorder's settings; the event loop, in which the stand-in runs, continues."""
    file = stack.options.state_dir / "operator.toml"
    write_settings(file, stack.settings)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DDR_")}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "ddr.cli.main", *arguments],
        env={**environment, "DDR_SETTINGS": str(file)},
        capture_output=True,
        text=True,
        timeout=180,
    )


def version(stack: DemoStack, number: str) -> list[Json]:
    """The ValueSets with this version; of blood glucose one code is new and one is gone."""
    found = [{**one, "version": number} for one in valuesets(stack.settings.miv_packages)]
    for one in found:
        if one["id"] == f"hddt-miv-{BG}":
            include = one["compose"]["include"][0]
            kept = [concept for concept in include["concept"] if concept["code"] != GONE]
            one["compose"] = {"include": [{**include, "concept": [*kept, {"code": NEW, "display": "Glucose"}]}]}
    return found


@pytest.mark.requirement("REG-010")
async def test_the_life_of_a_valueset(stack: DemoStack, tmp_path: Path) -> None:
    diga = next(one for one in stack.registry.digas if one.number == GLUKOBUCH.number)
    diga.certificates = [stack.certificate(GLUKOBUCH).der]
    await stack.refresh_registry()
    await every_worker(pushing(stack, stack.certificate(GLUKOBUCH), diga.redirect_uri, BG), 201)
    patient = stack.patients[1]
    gateway = stack.gateway(patient)
    await gateway.register("meter", METER, {})
    await gateway.push_measurements([measured(GONE)])
    tokens = await stack.pair(GLUKOBUCH, patient, (BG,))
    client = await stack.diga(GLUKOBUCH)
    assert len(await client.search(tokens, "Observation", {})) == 1

    stack.registry.packages.append(Package(PACKAGE, "1.1.0", version(stack, "1.1.0")))
    told = await ddr(stack, "miv", "update")
    assert told.returncode == 0, told.stderr
    for line in (f"added   http://loinc.org|{NEW}", "consents in force were given"):
        assert line in told.stdout
    assert (await ddr(stack, "miv", "check")).returncode == 1
    await every_worker(versions(stack), "1.0.1+1.1.0")
    assert await client.search(tokens, "Observation", {}) == [], "what left the ValueSet is given to nobody, by itself"
    refused = await ddr(stack, "miv", "activate", BG, "1.1.0")
    assert refused.returncode == 1 and NEW in refused.stderr and "--meta" in refused.stderr

    meta = (stack.settings.miv_packages / BG / "miv.toml").read_text().replace(f'code = "{GONE}"', f'code = "{NEW}"')
    (tmp_path / "miv.toml").write_text(meta)
    done = await ddr(stack, "miv", "activate", BG, "1.1.0", "--meta", str(tmp_path / "miv.toml"))
    assert done.returncode == 0, done.stderr
    await every_worker(versions(stack), "1.1.0")
    assert await client.search(tokens, "Observation", {}) == []
    assert (await gateway.push_measurements([measured(NEW)]))["created"] == 1
    assert len(await client.search(tokens, "Observation", {})) == 1

    stack.registry.packages.clear()
    assert (await ddr(stack, "miv", "update")).returncode == 0
    assert (await ddr(stack, "miv", "activate", BG, "1.0.1")).returncode == 0
    await every_worker(versions(stack), "1.0.1")
    (found,) = await client.search(tokens, "Observation", {})
    assert found["code"]["coding"][0]["code"] == GONE, "what was given before is given again"


METER: Json = {
    "serialNumber": "SN-1",
    "name": "Meter",
    "manufacturer": "Muster AG",
    "startedAt": "2026-01-01T00:00:00Z",
}


def measured(code: str) -> Json:
    """A blood glucose value of just now."""
    effective = date_time(now_ms() // 1000 * 1000 - 60_000)
    return {"key": code, "code": code, "unit": "mg/dL", "value": 110, "device": "meter", "effective": effective}


def versions(stack: DemoStack) -> Callable[[], Awaitable[object]]:
    """A probe: the version of the blood glucose ValueSet that a worker serves."""
    context = client_context(stack._authority.cert)
    miv = stack.catalog.by_name(BG)
    assert miv is not None

    async def probe() -> object:
        async with httpx.AsyncClient(verify=context) as http:
            return (await http.get(f"{stack.settings.public_base_url}/status")).json()["mivs"][miv.valueset]

    return probe
