"""How all workers follow a registry while one of them reads it for all: turns, faults, and the stored state."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import asyncpg
import httpx

from ddr.reasons import kind_of
from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import age_seconds, http_client
from ddr.registries.tokens import Tokens
from ddr.settings import Settings
from ddr.store.credentials import register
from ddr.store.credentials.register import Kind
from ddr.store.database.clock import steady_ms
from ddr.store.database.digest import sha256
from ddr.store.database.faults import FAULTS
from ddr.store.registries import sources as store

FOLLOW_SECONDS = 2.0  # how often a worker checks whether another one has read something new
START_SECONDS = 20  # how long a starting worker waits for the first reading
READING_SECONDS = 120  # the longest reading; the lease lasts longer, so that two readings never overlap
LEASE_SECONDS = 150
RETRY_SECONDS = 60  # after a failed reading

T = TypeVar("T")

log = logging.getLogger(__name__)


class Follower(ABC, Generic[T]):
    """One registry as a worker sees it: call `start`, then `step` about every FOLLOW_SECONDS. T: the result of a
    reading."""

    source: str
    sends_token = True  # whether the registry gets BfArM's bearer token

    def __init__(self, settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int]) -> None:
        self._settings, self._pool, self._clock = settings, pool, clock
        self._state = store.Source()
        self._seen_steady_ms = 0  # when that was read, by the steady clock
        self._accepted = ""  # the token of the last reading
        self._asking = False  # this worker has the turn, and has not finished it

    @abstractmethod
    async def _read(self, http: httpx.AsyncClient) -> T:
        """Read the registry. Raises RegistryFault."""

    @abstractmethod
    async def _save(self, read: T, began_ms: int, next_ms: int) -> None:
        """Store what was read, and carry out the consequences."""

    async def _changed(self) -> None:
        """Take over entries that any worker's reading has changed."""

    @property
    def _every_seconds(self) -> int:
        """The time between two readings; BfArM's directories of trust share one."""
        return self._settings.registry_refresh_seconds

    @property
    def _max_age_seconds(self) -> int:
        """The age from which the data may no longer be relied on."""
        return self._settings.registry_max_age_seconds

    def stale(self, now_ms: int) -> bool:
        """True when nothing was read within the maximum age (HDDT caching of trust-related information).

        The steady clock counts, too: setting a clock back does not make data younger.
        """
        return max(now_ms - self._state.seen_ms, steady_ms() - self._seen_steady_ms) > self._max_age_seconds * 1000

    def seen_ms(self) -> int:
        """When the registry was last read; 0: never."""
        return self._state.seen_ms

    async def start(self) -> None:
        """Take over the stored state; if it is stale, wait a while for a reading by this worker or another. A reading
        that takes longer is restarted by the worker with the next turn.

        Without the stored state a worker would refuse clients that the others know, so errors of the database are
        raised.
        """
        try:
            await self.follow()
            try:
                async with asyncio.timeout(START_SECONDS):
                    while self.stale(self._clock()) and (await self._turn()).fault is None:
                        await asyncio.sleep(0.2)  # another process may be reading
                        await self.follow()
            except TimeoutError:
                if self._asking:
                    await store.request_reading(self._pool, self.source)
        except FAULTS:
            raise
        except Exception as error:  # in the registry's response: requests that need no registry can still be served
            log.error("registry.not_read", extra={"source": self.source}, exc_info=error)

    async def step(self) -> store.Source:
        """Catch up with the stored state, and read the registry when that is due. Returns the state now in force."""
        await self.follow()
        return await self._turn()

    async def _turn(self) -> store.Source:
        """`step` after catching up."""
        now_ms = self._clock()
        longest_ms = (self._every_seconds + LEASE_SECONDS) * 1000  # a later turn is from before a clock was set back
        due = not now_ms < self._state.next_ms <= now_ms + longest_ms
        if due and await store.claim(self._pool, self.source, now_ms, LEASE_SECONDS * 1000, longest_ms):
            self._asking = True
            await self.read_now()
            self._asking = False
            await self.follow()
        return self._state

    async def read_now(self) -> None:
        """Read and store the outcome. A fault is noted, and the last good state stays in force."""
        began_ms = self._clock()
        try:
            read, age_ms = await self._asked()
        except RegistryFault as error:
            await self._failed(str(error), began_ms)
            return
        except Exception as error:
            await self._note_fault(f"cannot be read: {kind_of(error)}", began_ms)
            raise
        # Jitter, so that recorders do not read at the same time.
        next_ms = self._clock() + int(self._every_seconds * 1000 * random.uniform(0.8, 1))  # noqa: S311
        if self._accepted:
            await register.note_use(self._pool, Kind.REGISTRY, sha256(self._accepted).hex(), began_ms)
        said_ms = began_ms - age_ms
        last_ms = self._state.seen_ms
        if said_ms + store.SET_BACK_MS < last_ms <= began_ms + store.SET_BACK_MS:  # otherwise the clock was set back
            await self._failed(
                "the response is older than the previous one and comes from an intermediate cache", began_ms
            )
            return
        await self._save(read, said_ms, next_ms)

    async def _failed(self, fault: str, began_ms: int) -> None:
        log.warning("registry.fault", extra={"source": self.source, "fault": fault})
        await self._note_fault(fault, began_ms)

    async def _note_fault(self, fault: str, began_ms: int) -> None:
        again_ms = self._clock() + RETRY_SECONDS * 1000
        await store.save_fault(self._pool, self.source, fault, began_ms, again_ms)

    async def _asked(self) -> tuple[T, int]:
        """The result of a reading, and for how long (ms) caches had kept its oldest response. Raises RegistryFault."""
        ages = [0]  # seconds

        async def note(response: httpx.Response) -> None:
            ages.append(age_seconds(response))

        try:
            # Loading the system's CA certificates takes as long as several requests.
            client = await asyncio.to_thread(http_client, self._settings, token=self.sends_token)
            async with asyncio.timeout(READING_SECONDS), client as http:
                http.event_hooks = {"response": [note]}
                read = await self._read(http)
                self._accepted = client.auth.accepted if isinstance(client.auth, Tokens) else ""
                return read, max(ages) * 1000
        except TimeoutError:
            raise RegistryFault(f"no complete response within {READING_SECONDS} s") from None
        except (OSError, httpx.InvalidURL) as error:
            raise RegistryFault(f"cannot be queried with these settings: {error}") from None

    async def follow(self) -> None:
        """Take over the stored state without reading the registry: enough for commands that need only what recorders
        know."""
        state = await store.read_source(self._pool, self.source)
        if state.generation != self._state.generation or self._state.generation == 0:
            await self._changed()
        if state.seen_ms != self._state.seen_ms:
            self._seen_steady_ms = steady_ms() - max(0, self._clock() - state.seen_ms)
        self._state = state
