"""The composition root: what a worker process is made of, and which room answers on which listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import asyncpg

from ddr import allocator, failures
from ddr.diga_api.app import create_fhir, left_hddt
from ddr.diga_api.description.document import PATH as DESCRIPTION
from ddr.diga_api.description.document import create_description
from ddr.fhir.outages import LEFT
from ddr.gateway import inside
from ddr.gateway.app import PUBLIC, create_gateway
from ddr.http.address import behind_proxies, client_network, networks
from ddr.http.arrival import in_turn
from ddr.http.asgi import ASGIApp, Receive, Scope, Send, json_reply, problem
from ddr.http.caller import caller
from ddr.http.core import Core, TrustSource
from ddr.http.fleet import Fleet
from ddr.http.guard import by_path, constant, guarded, with_headers
from ddr.http.jobs import Jobs, Step
from ddr.http.measured import measured
from ddr.http.operator import with_operator
from ddr.http.presence import LOOK_SECONDS as PRESENCE_SECONDS
from ddr.http.request_log.log import RETRY_SECONDS, RequestLog
from ddr.http.request_log.logged import identified, logged
from ddr.http.traces import open_traces
from ddr.identity.provider import Provider
from ddr.miv.model import MivCatalog
from ddr.oauth import keys
from ddr.oauth import metadata as oauth_metadata
from ddr.oauth.app import create_oauth_backend, create_oauth_public
from ddr.operations import housekeeping, restore
from ddr.operations.admin import create_admin
from ddr.operations.maintenance import BACKEND, BROWSER, closed_ingestion, closing, oauth_refusal
from ddr.operations.request_log import policy
from ddr.operations.status.answers import observed, of_diga, of_gateway
from ddr.operations.status.app import PATHS as STATUS_PATHS
from ddr.operations.status.app import create_status
from ddr.operations.status.rounds import EVERY_SECONDS, Rounds, host_of
from ddr.patient_pages.app import FILE_PATH, create_consent
from ddr.patient_pages.file import FILE_BYTES
from ddr.patient_pages.visitor import FORM_BYTES
from ddr.registries.diga_vz import DigaVz
from ddr.registries.follower import FOLLOW_SECONDS, Follower
from ddr.registries.hiis_vz import HiisVz
from ddr.registries.terminology import Zts, current_catalog
from ddr.registries.trust import Trust
from ddr.settings import Settings
from ddr.store.audit.journal import JOURNAL
from ddr.store.database import clock as database_clock
from ddr.store.database.clock import DatabaseClock
from ddr.store.database.faults import FAULTS
from ddr.store.database.ids import IdCipher
from ddr.store.database.limits import BACKGROUND, REQUESTS, Limits
from ddr.store.database.migrate import check_complete
from ddr.store.database.pool import open_pool, servers_of
from ddr.store.database.replica import Replica
from ddr.store.database.secrets import load_secrets
from ddr.store.database.servers import Servers
from ddr.store.gateways.certificates import LOOK_SECONDS
from ddr.store.outages import notices, reports
from ddr.tls.peer import from_proxy

TRANSPORT_HEADERS = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

JOB_CONNECTIONS = 3
HOSTS_SECONDS = 1.0  # between two questions to the server in use, if there are several
HOSTS_TURNS = 5  # one in so many of these questions goes to all servers
REPLICA_SECONDS = 2.0  # between two attempts to connect to it
CONFIRM_SECONDS = 0.25  # for how long the database may not know that an answer was sent
POOL_CLOSE_SECONDS = 3.0  # a database that hangs must not delay the end

OAUTH_LEFT = constant(json_reply({"error": "invalid_request", "error_description": LEFT}, 410))
NOT_FOUND = constant(problem(404, "Not found"))


class Rooms:
    """The applications of all listeners, built again when the MIV catalogue is replaced.

    A request in progress ends with the rooms in which it began.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._apps = create_apps(core)

    def exchange(self, catalog: MivCatalog) -> None:
        """Use this catalogue from the next request on."""
        self.core = replace(self.core, catalog=catalog)
        self._apps = create_apps(self.core)

    def listeners(self) -> dict[str, ASGIApp]:
        """The application of each listener."""
        return {name: self._leading_to(name) for name in self._apps}

    def _leading_to(self, name: str) -> ASGIApp:
        async def lead(scope: Scope, receive: Receive, send: Send) -> None:
            await self._apps[name](scope, receive, send)

        return lead


@asynccontextmanager
async def running(settings: Settings, fleet: Fleet | None = None) -> AsyncIterator[Rooms]:
    """Rooms whose background work runs during the block: following registries and signing keys, housekeeping.

    `fleet`: this worker and the others, if there are any. Raises StoreError for a schema older than this version.
    """
    with JOURNAL.kept_in(settings.journal_folder):
        async with _rooms(settings, fleet) as rooms:
            yield rooms


@asynccontextmanager
async def _rooms(settings: Settings, fleet: Fleet | None) -> AsyncIterator[Rooms]:
    servers = servers_of(settings)
    async with (
        _pool(settings, servers) as pool,
        _pool(settings, servers, BACKGROUND, JOB_CONNECTIONS) as jobs,
        _pool(settings, servers, REQUESTS, 1) as records,
    ):
        await check_complete(jobs)
        clock = DatabaseClock()
        await clock.read(jobs)
        catalog = await current_catalog(settings, pool)
        diga_vz, zts = DigaVz(settings, jobs, clock), Zts(settings, jobs, clock, catalog)
        core = await build_core(settings, pool, Trust(diga_vz, zts), catalog, clock)
        await policy.keep(jobs, settings, clock())
        request_log = RequestLog(records, settings.request_log_folder)
        replica = Replica(settings) if settings.database_replica_url else None
        rooms = Rooms(
            replace(
                core,
                fleet=fleet or Fleet(),
                request_log=request_log,
                replica=replica,
                host_ahead_ms=clock.host_ahead_ms,
            )
        )
        zts.exchanged = rooms.exchange
        sources: list[Follower[Any]] = [diga_vz, zts]
        if settings.hiis_id:
            sources.append(HiisVz(settings, jobs, clock, lambda: rooms.core.catalog))
        rooms.core.registry_seen.update((source.source, source.seen_ms) for source in sources)
        await rooms.core.notices.read(pool, clock())
        await core.presence.look(pool, clock(), bool(settings.maintenance))
        await asyncio.gather(rooms.core.bridges.refresh(pool), *(source.start() for source in sources))
        if replica is not None:
            await replica.look(pool)
        rounds = Rounds()
        try:
            async with _in_background(rooms, jobs, _works(rooms, jobs, clock, sources, rounds)):
                yield rooms
        finally:
            await request_log.close()
            if replica is not None:
                replica.close()
            with suppress(*FAULTS):  # otherwise they count as long as their sessions live
                await rooms.core.grace_claims.flush(pool)
                own = host_of(rooms.core), rooms.core.fleet.number
                await reports.leave(pool, *own, rooms.core.clock(), rounds.run)


Work = tuple[str, Step, float]  # its name, one turn of it, and the seconds between two turns


def _works(
    rooms: Rooms, jobs: asyncpg.Pool, clock: DatabaseClock, sources: Iterable[Follower[Any]], rounds: Rounds
) -> list[Work]:
    """What a worker does again and again."""
    core, replays = rooms.core, restore.Replays()
    settings, pool, replica = core.settings, core.pool, core.replica
    works: list[Work] = [
        *((f"registry-{source.source}", source.step, FOLLOW_SECONDS) for source in sources),
        ("clock", lambda: clock.read(jobs), database_clock.LOOK_SECONDS),
        ("presence", lambda: core.presence.look(pool, clock(), bool(settings.maintenance)), PRESENCE_SECONDS),
        ("signing-keys", lambda: rooms.core.signer.read(jobs, rooms.core.clock()), keys.FOLLOW_SECONDS),
        ("status", lambda: rounds.once(replace(rooms.core, pool=jobs)), EVERY_SECONDS),
        ("notices", lambda: rooms.core.notices.read(jobs, rooms.core.clock()), notices.LOOK_SECONDS),
        ("journal", lambda: replays.look(jobs, settings.journal_folder, clock()), restore.LOOK_SECONDS),
        ("bridges", lambda: rooms.core.bridges.refresh(jobs), LOOK_SECONDS),
        ("request-log", core.request_log.recover, RETRY_SECONDS),
        ("memory", partial(asyncio.to_thread, allocator.give_back), allocator.EVERY_SECONDS),
        ("confirmations", lambda: rooms.core.grace_claims.flush(pool), CONFIRM_SECONDS),
    ]
    if replica is not None:
        works.append(("database-replica", lambda: replica.look(pool), REPLICA_SECONDS))
    if pool.servers.several:
        turns = cycle((True, *(False,) * (HOSTS_TURNS - 1)))
        works.append(("database-hosts", lambda: pool.watch_servers(next(turns)), HOSTS_SECONDS))
    return works


@asynccontextmanager
async def _in_background(rooms: Rooms, jobs: asyncpg.Pool, works: Iterable[Work]) -> AsyncIterator[None]:
    """These works, housekeeping and a look at the event loop go on during the block."""
    tasks = [asyncio.create_task(rooms.core.jobs.keep(*work)) for work in works]
    tasks.append(asyncio.create_task(housekeeping.rounds(lambda: replace(rooms.core, pool=jobs))))
    tasks.append(asyncio.create_task(rooms.core.lag.watch(rooms.core.admission.late)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _pool(
    settings: Settings, servers: Servers, limits: Limits = REQUESTS, size: int = 0
) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(settings, limits, size, servers)
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), POOL_CLOSE_SECONDS)
        except TimeoutError:
            pool.terminate()


async def build_core(
    settings: Settings, pool: asyncpg.Pool, registry: TrustSource, catalog: MivCatalog, clock: Callable[[], int]
) -> Core:
    """What the rooms share, read from a migrated database. Raises SettingsError."""
    ring = await keys.opening_key(pool, settings)
    signer = await keys.Keys.load(pool, ring, clock())
    secrets = await load_secrets(pool, ring)
    return Core(
        settings=settings,
        pool=pool,
        catalog=catalog,
        ids=IdCipher(secrets["resource-ids"]),
        secrets=secrets,
        registry=registry,
        clock=clock,
        jobs=Jobs(clock),
        traces=open_traces(settings),
        signer=signer,
        identity=Provider(settings, clock) if settings.patient_login == "oidc" else None,
    )


def create_apps(core: Core) -> dict[str, ASGIApp]:
    """The application of each listener: what it offers depends on who may connect to it."""
    retired = core.settings.retired
    fhir = guarded(left_hddt if retired else create_fhir(core), *failures.FHIR)
    documents = OAUTH_LEFT if retired else guarded(_oauth(core, create_oauth_public(core)), *failures.OAUTH)
    for_everybody = {
        **dict.fromkeys(oauth_metadata.PATHS, documents),
        "/oauth/jwks": documents,
        "/docs/client-registration": documents,
        "/fhir/metadata": fhir,
        DESCRIPTION: OAUTH_LEFT if retired else guarded(create_description(core), *failures.PROBLEM),
        **dict.fromkeys(STATUS_PATHS, guarded(create_status(core), *failures.PROBLEM)),
    }
    backend = OAUTH_LEFT if retired else guarded(_oauth(core, create_oauth_backend(core)), *failures.OAUTH)
    backend = closing(backend, core, BACKEND, oauth_refusal)
    diga = by_path({**for_everybody, "/fhir": fhir, "/oauth": backend}, NOT_FOUND)
    diga = observed(diga, core, of_diga)
    gateway = closed_ingestion(guarded(create_gateway(core), *failures.PROBLEM), core, PUBLIC)
    gateway = observed(gateway, core, of_gateway)
    if core.settings.client_cert_header:
        diga, gateway = (from_proxy(app, core.settings.client_cert_header) for app in (diga, gateway))
    pages = by_path({**for_everybody, "/oauth": documents}, guarded(_pages(core), *failures.PAGE))
    pages = closing(pages, core, BROWSER, oauth_refusal)
    browsers = with_operator(pages, core.settings)
    outside = {"diga": diga, "public": browsers, "gateway": gateway}
    outside = {name: _outside(with_headers(app, TRANSPORT_HEADERS), core.settings) for name, app in outside.items()}
    listeners = {
        **{name: logged(outside[name], core, name) for name in ("diga", "public")},
        "gateway": identified(outside["gateway"]),
        "admin": guarded(create_admin(core), *failures.PROBLEM),
    }
    return {name: measured(app, name, core) for name, app in listeners.items()}


def _oauth(core: Core, app: ASGIApp) -> ASGIApp:
    """The authorization server, for complete requests that can be answered soon (OPS-015)."""
    return in_turn(app, core.admission, "authorization", partial(caller, core), core.settings.fhir_max_body_bytes)


def _pages(core: Core) -> ASGIApp:
    """The patients' pages, in the same way."""
    core.inside = partial(inside.call, core)
    pages = create_consent(core)
    limits = (FORM_BYTES, FILE_BYTES + FORM_BYTES)
    small, large = (in_turn(pages, core.admission, "pages", client_network, limit) for limit in limits)

    async def by_size(scope: Scope, receive: Receive, send: Send) -> None:
        await (large if scope.get("path") == FILE_PATH else small)(scope, receive, send)

    return by_size


def _outside(app: ASGIApp, settings: Settings) -> ASGIApp:
    """What surrounds every external listener: where a request comes from, and whose headers are trusted."""
    if not settings.trusted_proxies:
        return app
    proxies = networks(settings.trusted_proxies)
    return behind_proxies(app, proxies, settings.client_address_header, (settings.client_cert_header,))
