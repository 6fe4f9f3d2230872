"""How every worker follows a registry while one of them reads it for all: turns, faults, and the stored state."""

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

FOLLOW_SECONDS = 2.0  # how often a worker looks whether another one has read something new
START_SECONDS = 20  # how long a starting worker waits for the first reading
READING_SECONDS = 120  # longest time for one reading; the lease lasts longer, so that two never overlap
LEASE_SECONDS = 150
RETRY_SECONDS = 60  # after a failed reading

T = TypeVar("T")

log = logging.getLogger(__name__)


class Follower(ABC, Generic[T]):
    """One registry as a worker sees it: `start` it, then `step` about every FOLLOW_SECONDS. T: what is read."""

    source: str
    sends_token = True  # whether the registry gets BfArM's bearer token

    def __init__(self, settings: Settings, pool: asyncpg.Pool, clock: Callable[[], int]) -> None:
        self._settings, self._pool, self._clock = settings, pool, clock
        self._state = store.Source()
        self._seen_steady_ms = 0  # when that was read, by the steady clock
        self._accepted = ""  # the token with which the last reading was done
        self._asking = False  # this worker has the turn, and has not done what it is for

    @abstractmethod
    async def _read(self, http: httpx.AsyncClient) -> T:
        """Ask the registry. Raises RegistryFault."""

    @abstractmethod
    async def _save(self, read: T, began_ms: int, next_ms: int) -> None:
        """Store what was read, and carry out what follows from it."""

    async def _changed(self) -> None:
        """Take over entries that a reading, by whichever worker, has changed."""

    @property
    def _every_seconds(self) -> int:
        """The time from one reading to the next; BfArM's directories of trust share theirs."""
        return self._settings.registry_refresh_seconds

    @property
    def _max_age_seconds(self) -> int:
        """The age past which what was read may no longer be relied on."""
        return self._settings.registry_max_age_seconds

    def stale(self, now_ms: int) -> bool:
        """True when nothing was read within the maximum age (HDDT caching of trust-related information).

        By a clock that nobody sets, too: one that is set back makes nothing younger.
        """
        return max(now_ms - self._state.seen_ms, steady_ms() - self._seen_steady_ms) > self._max_age_seconds * 1000

    def seen_ms(self) -> int:
        """When the registry was last read; 0: never."""
        return self._state.seen_ms

    async def start(self) -> None:
        """Take over the stored state; when it is stale, wait a while for a reading by this worker or another. One that
        takes longer is begun anew by whoever has the next turn.

        Without what is stored a worker would refuse whom the others know, so what is wrong with the database is raised.
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
        except Exception as error:  # in what the registry says: no reason not to serve what needs no registry
            log.error("registry.not_read", extra={"source": self.source}, exc_info=error)

    async def step(self) -> store.Source:
        """Catch up with the stored state, and read the registry when that is due. Returns the state now in force."""
        await self.follow()
        return await self._turn()

    async def _turn(self) -> store.Source:
        """`step` for who has just caught up."""
        now_ms = self._clock()
        longest_ms = (self._every_seconds + LEASE_SECONDS) * 1000  # a later turn is of a clock that was set back
        due = not now_ms < self._state.next_ms <= now_ms + longest_ms
        if due and await store.claim(self._pool, self.source, now_ms, LEASE_SECONDS * 1000, longest_ms):
            self._asking = True
            await self.read_now()
            self._asking = False
            await self.follow()
        return self._state

    async def read_now(self) -> None:
        """Read and store the outcome. A fault is noted and leaves the last good state in force."""
        began_ms = self._clock()
        try:
            read, age_ms = await self._asked()
        except RegistryFault as error:
            await self._failed(str(error), began_ms)
            return
        except Exception as error:
            await self._note_fault(f"cannot be read: {kind_of(error)}", began_ms)
            raise
        # Jitter, so that recorders do not ask in step.
        next_ms = self._clock() + int(self._every_seconds * 1000 * random.uniform(0.8, 1))  # noqa: S311
        if self._accepted:
            await register.note_use(self._pool, Kind.REGISTRY, sha256(self._accepted).hex(), began_ms)
        said_ms = began_ms - age_ms
        last_ms = self._state.seen_ms
        if said_ms + store.SET_BACK_MS < last_ms <= began_ms + store.SET_BACK_MS:  # else the clock was set back
            await self._failed("the answer is older than the last one and comes from a cache on the way", began_ms)
            return
        await self._save(read, said_ms, next_ms)

    async def _failed(self, fault: str, began_ms: int) -> None:
        log.warning("registry.fault", extra={"source": self.source, "fault": fault})
        await self._note_fault(fault, began_ms)

    async def _note_fault(self, fault: str, began_ms: int) -> None:
        again_ms = self._clock() + RETRY_SECONDS * 1000
        await store.save_fault(self._pool, self.source, fault, began_ms, again_ms)

    async def _asked(self) -> tuple[T, int]:
        """What was read, and for how long (ms) the oldest answer had been kept on the way. Raises RegistryFault."""
        ages = [0]  # seconds

        async def note(response: httpx.Response) -> None:
            ages.append(age_seconds(response))

        try:
            # Loading the machine's authorities takes as long as several requests.
            client = await asyncio.to_thread(http_client, self._settings, token=self.sends_token)
            async with asyncio.timeout(READING_SECONDS), client as http:
                http.event_hooks = {"response": [note]}
                read = await self._read(http)
                self._accepted = client.auth.accepted if isinstance(client.auth, Tokens) else ""
                return read, max(ages) * 1000
        except TimeoutError:
            raise RegistryFault(f"no complete answer within {READING_SECONDS} s") from None
        except (OSError, httpx.InvalidURL) as error:
            raise RegistryFault(f"cannot be asked with these settings: {error}") from None

    async def follow(self) -> None:
        """Take over the stored state and ask nobody: all that commands do which only need what recorders know."""
        state = await store.read_source(self._pool, self.source)
        if state.generation != self._state.generation or self._state.generation == 0:
            await self._changed()
        if state.seen_ms != self._state.seen_ms:
            self._seen_steady_ms = steady_ms() - max(0, self._clock() - state.seen_ms)
        self._state = state
