"""A recorder that trusts a registry stand-in over HTTPS, with a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from ddr.demo import certs
from ddr.demo.browser_user import BrowserUser
from ddr.demo.diga_client import DigaClient, Tokens
from ddr.demo.registry import DIGA_PATH, HIIS_PATH, ZTS_PATH, create_registry
from ddr.demo.registry_state import ListedDiga, RegistryState
from ddr.demo.server import serving
from ddr.registries.diga_vz import DigaVz
from ddr.registries.hiis_vz import HiisVz
from ddr.registries.terminology import Zts
from ddr.registries.trust import Trust
from ddr.settings import MivSettings, Settings
from tests.support.received import Received
from tests.support.recorder import PASSWORD, Patient, Recorder, recorder

TOKEN = "test-token"
HOUR = 3600
DAY = 24 * HOUR


class AllSpare(Trust):
    """The trust store has the spare certificates from the start, so that no test has to wait for each."""

    ders: list[bytes]

    def certificates(self) -> list[bytes]:
        return self.ders


@dataclass
class Registered:
    """The recorder, its registries, and what it requested from them."""

    ddr: Recorder
    state: RegistryState
    diga_vz: DigaVz
    zts: Zts
    hiis_vz: HiisVz
    asked: list[str] = field(default_factory=list)  # paths

    async def pass_time(self, seconds: float) -> None:
        """Let time pass; registries that are due are read once at the end."""
        self.ddr.clock.advance(seconds)
        for source in (self.diga_vz, self.zts, self.hiis_vz):
            await source.step()

    async def read_again(self) -> None:
        """Read the DiGA-VZ out of turn."""
        self.ddr.clock.advance(1)
        await self.diga_vz.read_now()
        await self.diga_vz.step()

    async def listed(self, *mivs: str) -> Listed:
        """A new DiGA in the DiGA-VZ, read by the recorder."""
        number = f"{50_000 + self.ddr.number()}"
        pair = self.ddr.spare()
        valuesets = [miv.valueset for name in mivs if (miv := self.ddr.core.catalog.by_name(name))]
        entry = ListedDiga(number, f"DiGA {number}", "GmbH", f"https://d{number}.example/cb", valuesets, [pair.der])
        self.state.digas.append(entry)
        await self.pass_time(900)
        return Listed(self, entry, await self.client(entry, pair))

    async def client(self, entry: ListedDiga, pair: certs.Pair) -> DigaClient:
        """The backend of a DiGA with this certificate."""
        settings = self.ddr.settings
        http = await self.ddr.client(pair, base_url=settings.fhir_base)
        return DigaClient(http, entry.client_id, entry.redirect_uri, settings.public_base_url, settings.fhir_base)


@dataclass
class Listed:
    """A DiGA of the stand-in."""

    world: Registered
    entry: ListedDiga
    client: DigaClient

    async def pair(self, patient: Patient, *mivs: str) -> Tokens:
        """Pair for these MIVs."""
        ddr = self.world.ddr
        request = await self.client.push_request(ddr.scopes(*mivs))
        user = BrowserUser(await ddr.client(), patient.username, PASSWORD)
        landed = await user.decide(request.url, self.client.redirect_uri, ddr.scopes(*mivs))
        return await self.client.redeem(request, landed)


@asynccontextmanager
async def registered(
    pool: asyncpg.Pool, settings: Settings, folder: Path, miv: Mapping[str, MivSettings], **more: Any
) -> AsyncIterator[Registered]:
    """Run the recorder with `more` settings."""
    await pool.execute("TRUNCATE registry_source, registry_entry, registry_event, registry_loss, miv_version")
    state, asked = RegistryState(), list[str]()
    stand_in = create_registry(state, TOKEN)

    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await stand_in(scope, receive, send)

    authority = certs.authority(folder)
    async with serving(recorded, certs.server_certificate(folder, authority)) as port:
        base = f"https://127.0.0.1:{port}"
        bases: dict[str, Any] = {
            "diga_vz_base": base + DIGA_PATH,
            "hiis_vz_base": base + HIIS_PATH,
            "zts_base": base + ZTS_PATH,
        }
        access: dict[str, Any] = {"registry_token": TOKEN, "registry_ca": str(authority.cert), "hiis_id": "00374"}
        settings = replace(settings, **bases, **access, **more)
        async with recorder(pool, settings, folder, Received(), miv) as ddr:
            world = _linked(ddr, state, asked)
            await world.pass_time(0)
            yield world


def _linked(ddr: Recorder, state: RegistryState, asked: list[str]) -> Registered:
    """The recorder with real followers of the registries in place of the list that tests fill by hand."""
    core = ddr.core
    diga_vz, zts = DigaVz(core.settings, core.pool, core.clock), Zts(core.settings, core.pool, core.clock, core.catalog)
    core.registry = trust = AllSpare(diga_vz, zts)
    trust.ders = ddr.trust.certificates()
    hiis_vz = HiisVz(core.settings, core.pool, core.clock, lambda: core.catalog)
    return Registered(ddr, state, diga_vz, zts, hiis_vz, asked)
