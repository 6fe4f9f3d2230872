"""Sends single calls of the functions beside a patient's rows straight to the server that has them: the coordinator
would plan each again and pass it on, for half of what a poll costs.

Every server of Citus accepts calls for any patient and passes on those for others, so nothing depends on knowing where
a part is. While that is unknown, or the server cannot be reached, the coordinator is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg

from ddr.reasons import kind_of
from ddr.store.database.dsn import Host
from ddr.store.database.errors import DatabaseAway, StoreError
from ddr.store.database.faults import FAULTS, READ_ONLY, UNAVAILABLE, PoolBusy, fault_of
from ddr.store.database.limits import REQUESTS
from ddr.store.database.lineage import Lineage
from ddr.store.database.parts import Parts, hashed
from ddr.store.database.pool import Connection, Pool, opened
from ddr.store.database.server_states import label
from ddr.store.database.servers import Servers
from ddr.store.database.spreading import is_spread

KNOWN_SECONDS = 10.0  # how long the known places of the parts are valid; they are read again after half of it
REST_SECONDS = 10.0  # after a server could not be reached, or failed
REFUSED_SECONDS = 60.0  # after it rejected the login, or was another server

# A server that does not learn of moves is not asked. The coordinator, which may have parts, too, has no address here.
_PARTS = """
SELECT s.shardminvalue::integer AS begins, n.nodename AS name, n.nodeport AS port, uuid_hash($1) AS hashed
  FROM pg_dist_shard s
  JOIN pg_dist_placement p ON p.shardid = s.shardid AND p.shardstate = 1
  LEFT JOIN pg_dist_node n ON n.groupid = p.groupid AND n.groupid <> 0 AND n.noderole = 'primary'
                          AND n.isactive AND n.hasmetadata AND n.metadatasynced
 WHERE s.logicalrelid = 'patient'::regclass"""
_KEY = UUID(int=0x0F1E2D3C4B5A69788796A5B4C3D2E1F0)
_SYSTEM = """
SELECT result FROM master_run_on_worker(
  ARRAY[$1::text], ARRAY[$2::integer], ARRAY['SELECT system_identifier FROM pg_control_system()'], false)"""

log = logging.getLogger(__name__)


async def fetch_there(conn: Connection, whose: UUID, text: str, *arguments: Any) -> list[asyncpg.Record]:
    """The rows of this call about a patient, to a function beside the rows. Raises what the call raises.

    It is sent to one server only, unless that rejects it as a whole: nobody knows what a call has done that got no
    answer.
    """
    ways = _ways(conn)
    found = None if ways is None else await ways.fetch(whose, text, *arguments)
    rows: list[asyncpg.Record] = await conn.fetch(text, *arguments) if found is None else found
    return rows


def _ways(conn: Connection) -> Ways | None:
    """Those of a pool for requests. A pooler is not bypassed, as its purpose is that there are few connections."""
    if not isinstance(conn, Pool) or not is_spread(conn) or conn.limits != REQUESTS or not conn.cache:
        return None
    if not isinstance(conn.beside, Ways):
        conn.beside = Ways(conn)
    return conn.beside


class Ways:
    """A pool's connections to the servers with the patients: for each server, up to as many as the pool has.

    They are looked for and opened in the background; requests never wait for that.
    """

    def __init__(self, coordinator: Pool) -> None:
        self._coordinator = coordinator
        self._parts = Parts()
        self._read_at = self._tried_at = -KNOWN_SECONDS  # by the event loop's clock
        self.pools: dict[Host, Pool] = {}
        self._rests_until: dict[Host, float] = {}
        self._away: dict[Host | None, bool] = {}  # as logged; None: the server that says where the parts are
        self._tasks: dict[object, asyncio.Task[None]] = {}

    async def fetch(self, whose: UUID, text: str, *arguments: Any) -> list[asyncpg.Record] | None:
        """The rows of a call at the patient's server; None: it was run nowhere, ask the coordinator."""
        if (host := self.host_of(whose)) is None or (pool := self.pools.get(host)) is None:
            return None
        try:
            own = await pool.acquire()
        except PoolBusy:  # this is load, of which the coordinator should not get more
            raise
        except FAULTS as error:
            self.rest(host, error)
            return None
        try:
            rows: list[asyncpg.Record] = await own.fetch(text, *arguments)
            return rows
        except asyncpg.SerializationError:  # the part was moved
            self._read_at = self._tried_at = -KNOWN_SECONDS
            raise
        except asyncpg.SyntaxOrAccessError as error:  # the server has no such function, or does not allow it
            self.rest(host, error)
            return None
        except FAULTS as error:
            if fault_of(error) in (UNAVAILABLE, READ_ONLY):
                self.rest(host, error)
            raise
        finally:
            await pool.release(own)

    def host_of(self, whose: UUID) -> Host | None:
        """The server of a patient, if known; starts to look for what is unknown or not connected."""
        now = asyncio.get_running_loop().time()
        if now - self._tried_at > KNOWN_SECONDS / 2:
            self._begin("parts", self._look)
        if now - self._read_at > KNOWN_SECONDS or (host := self._parts.host_of(whose)) is None:
            return None
        if host not in self.pools and self._rests_until.get(host, now) <= now:
            self._begin(host, partial(self._open, host))
        return host

    def rest(self, host: Host, error: BaseException) -> None:
        """This server fails: it is not asked for a while, and then over new connections."""
        refused = isinstance(error, StoreError) and not isinstance(error, DatabaseAway)
        seconds = REFUSED_SECONDS if refused else REST_SECONDS
        self._rests_until[host] = asyncio.get_running_loop().time() + seconds
        self._say(host, _reason(error))
        self._leave(host)

    async def close(self) -> None:
        """As a pool's: running calls are answered first."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))

    def terminate(self) -> None:
        """End all pools and their background tasks at once."""
        for task in self._tasks.values():
            task.cancel()
        for pool in self.pools.values():
            pool.terminate()

    async def _look(self) -> None:
        """Read where the parts are; if that fails, what was known stays valid for its time."""
        begun = asyncio.get_running_loop().time()
        try:
            self._parts = await parts(self._coordinator)
            self._read_at = begun
            self._say(None, None)
        except (*FAULTS, asyncpg.PostgresError, StoreError) as error:
            self._say(None, _reason(error))
        self._tried_at = begun
        for host in self.pools.keys() - self._parts.hosts:
            self._leave(host)

    async def _open(self, host: Host) -> None:
        try:
            pool = await at(self._coordinator, host)
        except (*FAULTS, asyncpg.PostgresError, StoreError) as error:
            self.rest(host, error)
        else:
            self.pools[host] = pool
            self._say(host, None)

    def _leave(self, host: Host) -> None:
        if (pool := self.pools.pop(host, None)) is not None:
            self._begin(pool, partial(_end, pool))

    def _begin(self, key: object, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run in the background, outside of any request, and only once at a time."""
        if key not in self._tasks:
            self._tasks[key] = task = asyncio.get_running_loop().create_task(work(), context=Context())
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def _say(self, host: Host | None, why: str | None) -> None:
        """Log a change; None: it can be used."""
        before, self._away[host] = self._away.get(host), why is not None
        if why is not None and not before:
            log.warning("database.part_server_away", extra={"host": label(host), "reason": why})
        elif why is None and before is not False and host is not None:
            log.info("database.part_server_in_use", extra={"host": label(host)})


async def parts(coordinator: Pool) -> Parts:
    """Where the parts of the patients are now. Raises StoreError, FAULTS, PostgresError."""
    rows = await coordinator.fetch(_PARTS, _KEY)
    if any(row["hashed"] != hashed(_KEY) for row in rows):
        raise StoreError("the database spreads patients by a hash that is unknown here")
    return Parts((row["begins"], row["name"] and (row["name"], row["port"])) for row in rows)


async def at(coordinator: Pool, host: Host) -> Pool:
    """A pool on this server of Citus. Raises StoreError, FAULTS, PostgresError."""
    common, lineage = coordinator.servers, Lineage()
    servers = Servers(common.url, lineage, common.schema, at=host)
    servers.spread = True
    pool = await opened(servers, coordinator.get_max_size(), coordinator.limits, coordinator.cache)
    try:
        system = await system_at(coordinator, host)
        if lineage.system is None or lineage.system != system:
            raise StoreError("not the server that the coordinator reaches at this address")
    except BaseException:
        pool.terminate()
        raise
    return pool


async def system_at(coordinator: Pool, host: Host) -> str | None:
    """The system identifier of the server that the coordinator finds under this address. Raises FAULTS, PostgresError.

    From another machine the same address may lead elsewhere, as `localhost` does.
    """
    system: str | None = await coordinator.fetchval(_SYSTEM, *host)
    return system


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, StoreError) else kind_of(error)


async def _end(pool: Pool) -> None:
    """Close connections once the running calls are answered, or have taken too long."""
    try:
        async with asyncio.timeout(2 * pool.limits.statement):
            await pool.close()
    except FAULTS:
        pool.terminate()
