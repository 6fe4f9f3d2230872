"""What one worker process shares between its rooms: settings, pool, keys, catalogue, registry, clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, Self
from uuid import UUID

import asyncpg

from ddr.http.admission import Admission
from ddr.http.clock import now_ms
from ddr.http.fleet import Fleet
from ddr.http.jobs import Jobs
from ddr.http.lag import Lag
from ddr.http.metrics import Metrics
from ddr.http.presence import Presence
from ddr.http.request_log.log import RequestLog
from ddr.http.strangers import Strangers
from ddr.http.tokens import GoodTokens, TokenVerifier
from ddr.http.traces import Traces
from ddr.http.watch import Watch
from ddr.http.writers import Writers
from ddr.identity.provider import Provider
from ddr.miv.model import MivCatalog
from ddr.scopes.diga import Diga
from ddr.settings import Settings
from ddr.store.authorization.grace import GraceClaims
from ddr.store.authorization.standings import Standings
from ddr.store.database.ids import IdCipher
from ddr.store.database.replica import Replica
from ddr.store.gateways.certificates import Anchors
from ddr.store.outages.notices import Notices
from ddr.store.series.sensors import Remembered

DOWNLOADS = 2  # that prepare a piece at once, so that they leave connections to others

Inside = Callable[[UUID, str, str, Any], Awaitable[tuple[int, Any]]]
"""Patient, method, path below /gateway/v1, body; gives status and content."""


class TrustSource(Protocol):
    """The allow list of DiGA, as last read from the DiGA-VZ (ddr.registries.diga_vz). Every look-up is local."""

    def by_certificate(self, der: bytes) -> Diga | None:
        """The entry that holds exactly this certificate (DER), inactive ones included."""

    def by_client_id(self, client_id: str) -> Diga | None:
        """The entry with this client_id, inactive ones included."""

    def name_of(self, client_id: str) -> str | None:
        """The current or last known name of the DiGA with this client_id."""

    def stale(self, now_ms: int) -> bool:
        """True when the data is older than `registry_max_age_seconds`: callers answer 503 with Retry-After."""

    def certificates(self) -> list[bytes]:
        """DER of every known certificate, for the TLS trust store (TLS-011)."""


@dataclass
class Core:
    """The dependencies of the HTTP rooms; built once per worker by `ddr.app.build_core`."""

    settings: Settings
    pool: asyncpg.Pool
    catalog: MivCatalog
    ids: IdCipher
    secrets: Mapping[str, bytes]
    registry: TrustSource
    signer: Any  # ddr.oauth.keys.Keys, which this room may not import
    replica: Replica | None = None  # None: everything is read from the primary
    identity: Provider | None = None  # None: patients log in with the built-in accounts
    clock: Callable[[], int] = now_ms  # this host's, which may differ from others; it gives no timestamps
    host_ahead_ms: Callable[[], int] = lambda: 0  # how far this host's clock is ahead of `clock`
    steer: Callable[[], int] | None = None  # a test's clock that replaces the database's (ddr.store.database.stamps)
    writers: Writers = field(default_factory=Writers)  # limited per patient, to leave connections to others
    downloading: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, DOWNLOADS))  # of patients' files
    sensors: Remembered = field(default_factory=Remembered)  # tails of continuous series, for the gateway's uploads
    good_tokens: GoodTokens = field(default_factory=GoodTokens)  # access tokens that were verified or signed here
    strangers: Strangers = field(default_factory=Strangers)  # what is counted but not recorded
    bridges: Anchors = field(default_factory=Anchors)  # certificates that the gateway listener accepts
    inside: Inside | None = None  # the gateway API for the patients' pages; set by ddr.app
    lag: Lag = field(default_factory=Lag)  # of this worker's event loop
    grace_claims: GraceClaims = field(default_factory=GraceClaims)
    standings: Standings = field(default_factory=Standings)  # how far the gathered rows have been compared
    presence: Presence = field(default_factory=Presence)  # when clients could not reach the recorder
    jobs: Jobs = field(default_factory=Jobs)  # background jobs
    metrics: Metrics = field(default_factory=Metrics)  # what is counted and timed
    traces: Traces | None = None  # None: switched off
    registry_seen: dict[str, Callable[[], int]] = field(default_factory=dict)  # when each source was last read, in ms
    notices: Notices = field(default_factory=Notices)  # maintenance and disruptions, from operators
    watch: Watch = field(default_factory=Watch)  # problems that this worker finds with itself
    fleet: Fleet = field(default_factory=Fleet)  # this worker and the others of its host
    request_log: RequestLog = field(default=None)  # type: ignore[assignment]  # made from pool and settings below
    admission: Admission = field(default=None)  # type: ignore[assignment]  # made from the settings below

    def __post_init__(self) -> None:
        """All rooms of a worker share its turns, so a copy of this object keeps them."""
        self.request_log = self.request_log or RequestLog(self.pool, self.settings.request_log_folder)
        self.admission = self.admission or Admission(self.settings.database_pool_size)

    async def reading(self) -> Self:
        """A copy with a pool for requests that only display data: the replica's, if that is up to date."""
        return self if self.replica is None else replace(self, pool=await self.replica.instead_of(self.pool))

    def token_verifier(self) -> TokenVerifier:
        """Verifies the access tokens that this recorder has issued for itself."""
        own = self.settings
        return TokenVerifier(own.public_base_url, own.fhir_base, self.signer.public_key, self.good_tokens)

    @property
    def steered_ms(self) -> int | None:
        """The instant that replaces the database's clock in tests; None: the clock itself."""
        return self.steer() if self.steer else None
