"""A whole recorder in the test's own event loop: real TLS listeners, real PostgreSQL, a clock that tests set.

It differs from `ddr serve` only in what tests have to control: the clock, and an allow list filled by hand.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from argon2 import PasswordHasher

from ddr.app import create_apps
from ddr.cli.serving.listeners import Listeners
from ddr.demo import certs
from ddr.demo.browser_user import BrowserUser
from ddr.demo.diga_client import DigaClient, Tokens
from ddr.demo.tls import client_context
from ddr.diga_api.description.document import description
from ddr.http.core import Core
from ddr.http.request_log.log import RETRY_SECONDS
from ddr.scopes.diga import Diga
from ddr.settings import MivSettings, Settings
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients import accounts
from tests.support.clock import Clock
from tests.support.core import core_on, with_signer
from tests.support.described import Described
from tests.support.ending import in_time
from tests.support.received import Received
from tests.support.trust import FakeTrust

LISTENERS = ("diga", "public", "gateway", "admin")
SPARE, FEW = 500, 60  # certificates for the DiGA of all tests that share a recorder, and of a few tests
PASSWORD = "correct horse battery"
_NUMBERS = count(1)
# Of the password above, made once and cheaply: the real cost of guessing is tested where it is decided.
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
ALL_MIVS = (
    "blood-glucose-measurement",
    "blood-pressure-value",
    "continuous-glucose-measurement",
    "lung-function-testing",
)


@dataclass
class Patient:
    """A patient's account with the token of its gateway app."""

    patient_id: UUID
    username: str
    gateway: httpx.AsyncClient


@dataclass
class TestDiga:
    """A DiGA of the allow list with a client that presents its certificate."""

    __test__ = False

    entry: Diga
    certificate: certs.Pair
    http: httpx.AsyncClient
    client: DigaClient


@dataclass
class Recorder:
    """The running recorder and all its clients."""

    core: Core
    clock: Clock
    trust: FakeTrust
    authority: certs.Pair
    folder: Path
    received: Received
    public: httpx.AsyncClient
    admin: httpx.AsyncClient
    described: Described
    _stack: AsyncExitStack
    _spare: list[certs.Pair]

    @property
    def settings(self) -> Settings:
        """The settings it runs with."""
        return self.core.settings

    def number(self) -> int:
        """A number not used before, for names that must differ: recorders share the run's database."""
        return next(_NUMBERS)

    def scopes(self, *mivs: str) -> tuple[str, ...]:
        """The scopes of these MIV packages, with those of devices."""
        found = [miv.scope for name in mivs if (miv := self.core.catalog.by_name(name))]
        return (*found, "patient/Device.rs", "patient/DeviceMetric.rs")

    def spare(self) -> certs.Pair:
        """A certificate that passes the handshake and does not belong to a DiGA yet."""
        return self._spare.pop()

    async def patient(self) -> Patient:
        """A new patient with a cheap password hash."""
        name = f"patient-{self.number()}"
        patient_id = await accounts._insert(self.core.pool, name, _HASH, self.clock())
        token = await gateway_tokens.create(self.core.pool, patient_id, self.clock())
        base = f"{self.settings.gateway_base_url}/gateway/v1"
        gateway = await self.client(base_url=base, headers={"authorization": f"Bearer {token}"})
        return Patient(patient_id, name, gateway)

    async def diga(self, *mivs: str, active: bool = True) -> TestDiga:
        """A new DiGA in the allow list that may read these MIVs (default: all)."""
        number = 10_000 + self.number()
        pair = self.spare()
        valuesets = frozenset(miv.valueset for name in mivs or ALL_MIVS if (miv := self.core.catalog.by_name(name)))
        entry = Diga(
            client_id=f"urn:diga:bfarm:{number}",
            name=f"DiGA {number}",
            manufacturer="Test GmbH",
            active=active,
            redirect_uri=f"https://diga-{number}.example/callback",
            certificates=frozenset(),
            valuesets=valuesets,
        )
        entry = self.trust.add(entry, pair.der)
        http = await self.client(pair, base_url=self.settings.fhir_base)
        settings = self.settings
        client = DigaClient(http, entry.client_id, entry.redirect_uri, settings.public_base_url, settings.fhir_base)
        return TestDiga(entry, pair, http, client)

    async def pair(
        self, diga: TestDiga, patient: Patient, *mivs: str, approve: Collection[str] | None = None
    ) -> Tokens:
        """Pair for these MIVs (default: all that the DiGA may read); the patient approves all, or only `approve`."""
        names = mivs or [
            name
            for name in ALL_MIVS
            if (miv := self.core.catalog.by_name(name)) and miv.valueset in diga.entry.valuesets
        ]
        request = await diga.client.push_request(self.scopes(*names))
        browser = await self.client()
        user = BrowserUser(browser, patient.username, PASSWORD)
        wanted, days = self.scopes(*(approve or names)), self.settings.consent_days
        landed = await user.decide(request.url, diga.entry.redirect_uri, wanted, days)
        return await diga.client.redeem(request, landed)

    async def _as_described(self, response: httpx.Response) -> None:
        """A test's response, which must be as described if the request was readable HTTP."""
        read = "strict-transport-security" in response.headers  # otherwise the parser has refused it
        if read and not self.settings.retired and response.request.url.path.startswith(("/fhir", "/oauth")):
            await self.described.check(response)

    async def client(self, own: certs.Pair | None = None, **options: Any) -> httpx.AsyncClient:
        """An HTTP client that trusts the development CA; what it receives is stored for the validator."""
        context = client_context(self.authority.cert, own)
        hooks = {"response": [self.received.keep, self._as_described]}
        client = httpx.AsyncClient(verify=context, timeout=30, event_hooks=hooks, **options)
        return await self._stack.enter_async_context(client)


@asynccontextmanager
async def recorder(
    pool: asyncpg.Pool,
    settings: Settings,
    folder: Path,
    received: Received,
    miv: Mapping[str, MivSettings],
    many: bool = False,
) -> AsyncIterator[Recorder]:
    """Run a recorder on `pool` with listeners on free ports; `miv` replaces the registered terms.

    With `many` it serves several test files: it has certificates for all their DiGA, and a single slow statement does
    not leave it without a request log for the rest of them.
    """
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in LISTENERS}
    url = {name: f"https://localhost:{one.getsockname()[1]}" for name, one in sockets.items()}
    authority = certs.authority(folder)
    server = certs.server_certificate(folder, authority)
    settings = replace(
        settings,
        diga_base_url=url["diga"],
        public_base_url=url["public"],
        gateway_base_url=url["gateway"],
        server_cert=server.cert,
        server_key=server.key,
        miv=miv,
    )
    clock, trust = Clock(), FakeTrust()
    # In the trust store from the start, so that tests need not wait until it follows a new entry.
    spares = range(SPARE if many else FEW)
    spare = [certs.client_certificate(folder / f"spare-{number}", "client") for number in spares]
    trust.ders.extend(pair.der for pair in spare)
    core = await with_signer(await core_on(pool, settings, clock, trust))
    listeners = Listeners(core, create_apps(core))
    await listeners.start(sockets)
    async with AsyncExitStack() as stack:
        if many:
            recovering = core.jobs.keep("request-log", core.request_log.recover, RETRY_SECONDS)
            stack.callback(asyncio.create_task(recovering).cancel)
        context = client_context(authority.cert)
        public = httpx.AsyncClient(verify=context, base_url=url["public"], timeout=30)
        admin = httpx.AsyncClient(base_url=url["admin"].replace("https", "http"), timeout=30)
        described = Described(description(core))
        running = Recorder(core, clock, trust, authority, folder, received, public, admin, described, stack, spare)
        await stack.enter_async_context(public)
        await stack.enter_async_context(admin)
        yield running
    async with in_time():
        await listeners.stop()
