"""A replica that is read instead of the primary when it has everything that the primary has at that moment.

So a reader sees all that was written before, and time never goes back. It is only for displaying data: neither access
decisions nor the searches of DiGA use it.
"""

from __future__ import annotations

import asyncio
import logging

from ddr.reasons import kind_of
from ddr.settings import Settings
from ddr.store.database.dsn import check_url, hosts
from ddr.store.database.errors import StoreError
from ddr.store.database.faults import FAULTS
from ddr.store.database.limits import REQUESTS, Limits
from ddr.store.database.lineage import Lineage
from ddr.store.database.pool import Pool, opened
from ddr.store.database.servers import Servers

REST_SECONDS = 2.0  # after it did not answer
STEP_SECONDS = 0.01  # between two checks of how far it is

_DATABASE = "SELECT oid FROM pg_database WHERE datname = current_database()"  # the same on both
_WRITTEN = "SELECT pg_current_wal_flush_lsn()::text"
# A replica that follows no primary any more would show outdated data forever.
_HAS_IT = """
SELECT pg_is_in_recovery() AND EXISTS (SELECT FROM pg_stat_wal_receiver)
       AND pg_last_wal_replay_lsn() >= $1::text::pg_lsn"""

log = logging.getLogger(__name__)


def check_replica(settings: Settings) -> None:
    """Raises StoreError when the setting `database_replica_url` cannot be a replica."""
    if url := settings.database_replica_url:
        check_url(url, "database_replica_url")
        if len(hosts(url)) > 1:
            raise StoreError("database_replica_url: must name exactly one server")


class Replica:
    """The server of `database_replica_url`; has no connections until `look` has found it."""

    def __init__(self, settings: Settings, limits: Limits = REQUESTS) -> None:
        self._url, self._schema = settings.database_replica_url, settings.database_schema
        self._limits, self._cache = limits, settings.database_statement_cache
        self._size = settings.database_pool_size
        self._patience = settings.database_replica_milliseconds / 1000
        self._pool: Pool | None = None
        self._rests_until = 0.0  # by the event loop's clock
        self._logged: str | None = ""  # why it cannot be used, as logged; None: it can
        self.reads = 0  # how often it was asked and answered
        self.passed_over = 0  # how often the primary answered instead
        check_replica(settings)

    async def look(self, primary: Pool) -> None:
        """Connect to it if it can be reached and has the same database; does nothing while connected."""
        if self._pool is not None:
            return
        lineage = Lineage()
        lineage.system = primary.servers.lineage.system
        try:
            servers = Servers(self._url, lineage, self._schema)
            pool = await opened(servers, self._size, self._limits, self._cache)
        except StoreError as error:
            self._say(str(error))
            return
        try:
            same = await pool.fetchval(_DATABASE) == await primary.fetchval(_DATABASE)
            why = None if same else "names another database than database_url"
        except FAULTS as error:
            why = kind_of(error)
        if why is None:
            self._pool = pool
        else:
            pool.terminate()
        self._say(why)

    async def instead_of(self, primary: Pool) -> Pool:
        """Its pool, if it reaches in time what the primary has now; else `primary`.

        Raises FAULTS of the primary, never those of the replica.
        """
        if (pool := self._pool) is not None and asyncio.get_running_loop().time() >= self._rests_until:
            written = await primary.fetchval(_WRITTEN)
            if await self._has(pool, written):
                self.reads += 1
                return pool
        self.passed_over += 1
        return primary

    async def _has(self, pool: Pool, written: str) -> bool:
        now = asyncio.get_running_loop().time
        until = now() + self._patience
        try:
            async with asyncio.timeout_at(until + STEP_SECONDS):
                while not await pool.fetchval(_HAS_IT, written):
                    if now() >= until:
                        return False
                    await asyncio.sleep(STEP_SECONDS)
        except FAULTS as error:  # nobody else needs to wait for it just now; its pool connects anew when it is asked
            self._rests_until = now() + REST_SECONDS
            self._say(kind_of(error))
            return False
        self._say(None)
        return True

    def close(self) -> None:
        """Close its connections at once."""
        if self._pool is not None:
            self._pool.terminate()

    def _say(self, why: str | None) -> None:
        """Log whether the replica is used, and if not `why`, when that has changed."""
        if why == self._logged:
            return
        self._logged = why
        if why is None:
            log.info("database.replica_in_use")
        else:
            log.warning("database.replica_away", extra={"reason": why})
