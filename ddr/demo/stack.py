"""The whole scene: certificates, registry stand-in, recorder, accounts, and clients for every part."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import asyncpg
import httpx

from ddr.demo import certs, clock, recorder
from ddr.demo.accounts import Account, accounts
from ddr.demo.browser_user import BrowserUser
from ddr.demo.cast import DIGAS, STORY_DIGAS, CastDiga
from ddr.demo.diga_client import DigaClient, Tokens
from ddr.demo.faults import switch
from ddr.demo.gateway_client import GatewayClient
from ddr.demo.own_diga import OwnDiga
from ddr.demo.registry import DIGA_PATH, HIIS_PATH, ZTS_PATH, create_registry
from ddr.demo.registry_file import DataError, following, load, save
from ddr.demo.registry_state import ListedDiga, Package, RegistryState
from ddr.demo.registry_zts import PACKAGE, valuesets
from ddr.demo.server import serving
from ddr.demo.tls import client_context
from ddr.drafts import OWN, draft
from ddr.miv.loader import load_catalog
from ddr.miv.model import MivCatalog
from ddr.registries import diga_vz, hiis_vz, terminology
from ddr.registries.hiis import resources
from ddr.settings import MivSettings, Settings
from ddr.settings_checks import check
from ddr.store.database.embedded import database
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.pool import open_pool
from ddr.store.registries.sources import request_reading

REGISTRY_PORT = 8447
REGISTRY_TOKEN = "b7a3c0de-0000-4000-8000-00000000d19a"  # noqa: S105 - the stand-in's only, in BfArM's form
TIMEOUT = httpx.Timeout(60)
PORTS = len(recorder.LISTENERS) + 1  # the recorder's, and the registry's


@dataclass(frozen=True)
class Options:
    """The configuration of the scene. Times in seconds."""

    state_dir: Path = Path(".ddr")
    ports: Literal["default", "auto"] = "default"
    patients: int = 3
    workers: int = 1
    grace_seconds: int | None = None  # None: the registered grace periods
    database_url: str = ""  # empty: embedded
    statement_cache: int = Settings.database_statement_cache  # 0: database_url leads through a pooler
    port_base: int | None = None  # the first of five consecutive ports
    token_seconds: int | None = None  # lifetime of access tokens; None: as usual
    repeat_seconds: int | None = None  # for which the response to a refresh is repeated; None: as usual
    own: tuple[OwnDiga, ...] = ()
    operator: Mapping[str, Any] = field(default_factory=dict)  # settings about the operator, by name
    clock: bool = False  # settable (ddr.demo.clock)
    faults: bool = True  # on demand (ddr.demo.faults); otherwise `ddr serve` itself


class DemoStack:
    """The running scene, as an asynchronous context manager. Its members are valid only inside the context."""

    registry: RegistryState
    settings: Settings
    pool: asyncpg.Pool
    database_url: str
    http: httpx.AsyncClient  # without a certificate
    patients: Sequence[Account]

    def __init__(self, options: Options) -> None:
        self.options = replace(options, state_dir=options.state_dir.absolute())
        self.digas = DIGAS
        self._resources = AsyncExitStack()
        self._diga_clients: dict[str, DigaClient] = {}
        self._started = False

    async def start(self) -> None:
        """Set everything up now, to be stopped at the end of the context."""
        try:
            await self._set_up()
        except BaseException:
            await self._resources.aclose()
            raise
        self._started = True

    async def __aenter__(self) -> Self:
        if not self._started:
            await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._resources.aclose()

    async def _set_up(self) -> None:
        state = self.options.state_dir
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise recorder.RecorderError(f"state directory {state} cannot be created: {error.strerror}") from None
        self._resources.enter_context(_alone(state))
        self._authority = certs.authority(state / "certs")
        server = certs.server_certificate(state / "certs", self._authority)
        *ports, registry_port = self._ports()
        self.settings = _settings(self.options, ports, registry_port, server, self._authority)
        self.catalog: MivCatalog = load_catalog(self.settings.miv_packages, self.settings.miv)
        data = state / "registry.json"
        listed = [self.listed(diga) for diga in (*DIGAS, *STORY_DIGAS)]
        listed += [diga.listed(self.catalog) for diga in self.options.own]
        self.registry = RegistryState(
            digas=[*listed, *_added(data, {diga.number for diga in listed})],
            hiis=resources(self.settings, self.catalog),
            packages=[Package(PACKAGE, "1.0.1", valuesets(self.settings.miv_packages))],
        )
        save(self.registry, data)
        app = create_registry(self.registry, REGISTRY_TOKEN, following(self.registry, data))
        await self._resources.enter_async_context(serving(app, server, registry_port))
        files = state / "serve.toml", state / "serve.log"
        switch(state, None, 0)
        command = recorder.SANDBOX if self.options.faults else recorder.SERVE
        if self.options.clock:
            with database(self.settings) as made:  # the recorder starts it again itself
                await clock.install(made.database_url)
        await self._resources.enter_async_context(recorder.serving(self.settings, *files, command))
        stored = self._resources.enter_context(database(self.settings))
        self.database_url = stored.database_url
        self.pool = await self._resources.enter_async_context(await open_pool(stored, BACKGROUND))
        self.http = await self._resources.enter_async_context(self.client())
        self.patients = await accounts(self.pool, state, self.options.patients)
        await self.refresh_registry()
        described = self.description()
        written = {"demo.json": json.dumps(described, indent=2), "diga.toml": _as_configured(described)}
        for name, text in written.items():
            with draft(state / name, OWN) as out:
                out.write(text.encode())

    def _ports(self) -> Sequence[int]:
        if self.options.port_base is not None:
            return range(self.options.port_base, self.options.port_base + PORTS)
        if self.options.ports == "auto":
            return recorder.free_ports(PORTS)
        return [*(getattr(Settings(), name) for name in recorder.LISTENERS), REGISTRY_PORT]

    def certificate(self, diga: CastDiga) -> certs.Pair:
        """The client certificate of a DiGA: self-signed, or from its manufacturer's CA."""
        folder = self.options.state_dir / "certs" / diga.name.lower()
        return certs.client_certificate(folder, "client", certs.authority(folder, diga.name) if diga.issued else None)

    def scopes(self, *mivs: str) -> tuple[str, ...]:
        """The scopes of MIVs by their package names, with those of devices."""
        found = [miv.scope for name in mivs if (miv := self.catalog.by_name(name))]
        return (*found, "patient/Device.rs", "patient/DeviceMetric.rs")

    def gateway(self, patient: Account) -> GatewayClient:
        """The gateway app of a patient."""
        return GatewayClient(self.http, self.settings.gateway_base_url, patient.gateway_token)

    async def diga(self, diga: CastDiga) -> DigaClient:
        """The backend of a DiGA, with its certificate."""
        if diga.client_id not in self._diga_clients:
            http = await self._resources.enter_async_context(self.client(self.certificate(diga)))
            self._diga_clients[diga.client_id] = DigaClient(
                http, diga.client_id, diga.redirect_uri, self.settings.public_base_url, self.settings.fhir_base
            )
        return self._diga_clients[diga.client_id]

    async def pair(
        self, diga: CastDiga, patient: Account, mivs: Sequence[str], approve: Sequence[str] | None = None
    ) -> Tokens:
        """Pair for `mivs` (package names); the patient approves all of them, or only `approve`."""
        client = await self.diga(diga)
        request = await client.push_request(self.scopes(*mivs))
        async with self.client() as browser:
            user = BrowserUser(browser, patient.username, patient.password)
            ticked = self.scopes(*(mivs if approve is None else approve))
            landed = await user.decide(request.url, diga.redirect_uri, ticked)
        return await client.redeem(request, landed)

    async def refresh_registry(self) -> None:
        """Make the recorder read the registries at once; its workers follow within some seconds."""
        for source in (diga_vz.SOURCE, hiis_vz.SOURCE, terminology.SOURCE):
            await request_reading(self.pool, source)

    def description(self) -> dict[str, Any]:
        """The content of `demo.json`: absolute URLs and paths, accounts."""
        return {
            "fhir_base": self.settings.fhir_base,
            "oauth_issuer": self.settings.public_base_url,
            "gateway_base": self.settings.gateway_base_url,
            "admin_base": f"http://127.0.0.1:{self.settings.admin_port}",
            "ca": str(self._authority.cert),
            "digas": [*map(self._described, self.digas), *map(self._described_own, self.options.own)],
            "patients": [vars(patient) for patient in self.patients],
            "status_url": f"{self.settings.public_base_url}/status",
            "terms": {miv.valueset: vars(self.catalog.terms[miv.valueset]) for miv in self.catalog.mivs},
        }

    def _described(self, diga: CastDiga) -> dict[str, Any]:
        pair = self.certificate(diga)
        return {
            "client_id": diga.client_id,
            "cert": str(pair.cert),
            "key": str(pair.key),
            "redirect_uri": diga.redirect_uri,
            "mivs": self._valuesets(diga),
        }

    def _described_own(self, diga: OwnDiga) -> dict[str, Any]:
        """Without its key, which stays with its developer."""
        return {
            "client_id": diga.client_id,
            "cert": str(diga.cert),
            "key": None,
            "redirect_uri": diga.redirect_uri,
            "mivs": diga.valuesets(self.catalog),
        }

    def _valuesets(self, diga: CastDiga) -> list[str]:
        return [miv.valueset for name in diga.mivs if (miv := self.catalog.by_name(name))]

    def listed(self, diga: CastDiga) -> ListedDiga:
        """Its entry in the DiGA-VZ."""
        der = self.certificate(diga).der
        return ListedDiga(diga.number, diga.name, diga.manufacturer, diga.redirect_uri, self._valuesets(diga), [der])

    def client(self, own: certs.Pair | None = None) -> httpx.AsyncClient:
        """A plain HTTP client that trusts the development CA and presents `own`, if given."""
        return httpx.AsyncClient(verify=client_context(self._authority.cert, own), timeout=TIMEOUT, trust_env=False)


def _added(data: Path, numbers: Collection[str]) -> list[ListedDiga]:
    """What `ddr registry-sandbox add` listed in an earlier run, except for entries with these numbers."""
    try:
        return [diga for diga in load(data).digas if diga.number not in numbers] if data.exists() else []
    except DataError:
        return []


def _as_configured(described: dict[str, Any]) -> str:
    """The first DiGA of `demo.json` in the form that `ddr client` reads (docs/client.md)."""
    diga = described["digas"][0]
    own = {name: diga[name] for name in ("client_id", "redirect_uri", "key")}
    where = {"issuer": described["oauth_issuer"], "fhir_base": described["fhir_base"], "ca": described["ca"]}
    return "".join(
        f"{name} = {json.dumps(value)}\n" for name, value in {**own, "certificate": diga["cert"], **where}.items()
    )


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Lock the state directory against other demonstrations. Raises RecorderError when there is one."""
    with (state_dir / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise recorder.RecorderError(f"state directory {state_dir} is in use by another demonstration") from None
        yield


def _settings(
    options: Options, ports: Sequence[int], registry_port: int, server: certs.Pair, authority: certs.Pair
) -> Settings:
    """The recorder's settings for this scene. Raises SettingsError, MivError."""
    diga_port, public_port, gateway_port, admin_port = ports
    settings = Settings(
        state_dir=options.state_dir,
        database_url=options.database_url,
        database_statement_cache=options.statement_cache,
        embedded=not options.database_url,
        diga_port=diga_port,
        public_port=public_port,
        gateway_port=gateway_port,
        admin_port=admin_port,
        workers=options.workers,
        diga_base_url=f"https://localhost:{diga_port}",
        public_base_url=f"https://localhost:{public_port}",
        gateway_base_url=f"https://localhost:{gateway_port}",
        server_cert=server.cert,
        server_key=server.key,
        diga_vz_base=f"https://localhost:{registry_port}{DIGA_PATH}",
        hiis_vz_base=f"https://localhost:{registry_port}{HIIS_PATH}",
        zts_base=f"https://localhost:{registry_port}{ZTS_PATH}",
        registry_token=REGISTRY_TOKEN,
        registry_max_age_seconds=3600,  # HDDT: shorter in test environments (REG-009)
        zts_max_age_seconds=3600,
        zts_refresh_seconds=900,
        hiis_id="00374",
        product_name="HDDT demonstration",
        manufacturer="Beispiel Medizintechnik GmbH",
        registry_ca=str(authority.cert),
        allow_builtin_accounts=True,
        **options.operator,
    )
    if options.token_seconds is not None:
        settings = replace(settings, access_token_seconds=options.token_seconds)
    if options.repeat_seconds is not None:
        settings = replace(settings, refresh_repeat_seconds=options.repeat_seconds)
    return check(replace(settings, miv=_terms(settings, options.grace_seconds)))


def _terms(settings: Settings, grace_seconds: int | None) -> dict[str, MivSettings]:
    """The packages' own limits, with another Grace-Period if one is given."""
    if grace_seconds is None:
        return {}
    catalog = load_catalog(settings.miv_packages, {})
    terms = {miv.name: MivSettings(**vars(catalog.terms[miv.valueset])) for miv in catalog.mivs}
    return {name: replace(own, grace_seconds=grace_seconds) for name, own in terms.items()}
