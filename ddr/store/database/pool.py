"""The asyncpg pool: JSON codec, limits on every wait, servers tried one by one, and clear errors."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from errno import ECONNREFUSED
from typing import Any, Protocol

import asyncpg
import orjson

from ddr.call import CONNECTION, spent
from ddr.reasons import in_words, kind_of
from ddr.settings import Settings
from ddr.store.database.dsn import check_url, repeats_secret
from ddr.store.database.errors import DatabaseAway, StoreError
from ddr.store.database.faults import FAULTS, PoolBusy, StaleServer
from ddr.store.database.limits import BACKGROUND, REQUESTS, Limits, session_options
from ddr.store.database.lineage import FILE, Lineage
from ddr.store.database.prepared import Prepared
from ddr.store.database.probe import Probe, Unfit
from ddr.store.database.reaching import HOST_SECONDS
from ddr.store.database.servers import Servers
from ddr.store.database.spreading import SESSION, look

Row = Mapping[str, Any]  # of columns by name
Connection = asyncpg.Connection | asyncpg.Pool  # what a repository function takes: its statement runs on either

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.OperatorInterventionError,  # it is starting or stopping
    asyncpg.PostgresConnectionError,  # what a pooler says when the server behind it is not there
    asyncpg.TooManyConnectionsError,
)
# As a pooler says it, which uses one code for everything, and a server without TLS.
FINAL = ("authentication failed", "no such database", "no such user", "does not exist", "rejected SSL upgrade")
PARAMETER = "startup parameter"
CUT = (asyncio.CancelledError, TimeoutError)  # by which a statement may end between its protocol steps
CACHED_STATEMENTS = 100
_ERRNO = re.compile(r"\[Errno (\d+)\]")
INACTIVE_SECONDS = 300.0
POOLER = "set database_statement_cache to 0 behind a pooler in transaction mode, or connect directly"


@dataclass
class Waits:
    """How often a caller waited for a connection because none was free or one had to be made, and how often in vain."""

    count: int = 0
    seconds: float = 0.0
    failed: int = 0


class Beside(Protocol):
    """Something with its own connections that ends together with a pool."""

    async def close(self) -> None:
        """End once the running statements are answered."""

    def terminate(self) -> None:
        """End at once, even if statements are running."""


class Pool(asyncpg.Pool):  # type: ignore[misc]
    """A pool for which nobody waits without limit: each `acquire` raises PoolBusy or the error of the database."""

    def __init__(self, servers: Servers, size: int, limits: Limits, cache: int) -> None:
        self.servers = servers
        self.limits = limits
        self.cache = cache
        self.waits = Waits()
        self.lines: dict[Any, Any] = {}  # of statements that are batched (ddr.store.database.together)
        self.beside: Beside | None = None  # connections to the patients' servers (ddr.store.database.straight)
        self._doubts = 0
        self._returned = 0.0  # when a connection that was still good last came back
        self._probe = Probe(servers, cache)
        super().__init__(
            servers.url,
            min_size=1,
            max_size=size,
            max_queries=50_000,
            max_inactive_connection_lifetime=INACTIVE_SECONDS,
            loop=None,
            record_class=asyncpg.Record,
            connect=self._connect_somewhere,
            init=self._begin,
            reset=_keep,
            **session_options(limits, cache, servers.schema),
        )

    async def _connect_somewhere(self, _: str, loop: Any, **options: Any) -> asyncpg.Connection:
        connection = await self.servers.connect(**options)
        if self.servers.spread is None:
            self.servers.spread = await look(connection)
        if self.servers.spread:
            await connection.execute(SESSION)
            connection.lock_seconds = self.limits.lock
        return connection

    async def _begin(self, connection: asyncpg.Connection) -> None:
        """Limit what it keeps prepared, and correct its settings. jsonb is converted to Python values; in binary form
        it is the text after one byte."""
        connection._stmt_cache = Prepared.like(connection._stmt_cache)
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode, decoder=_decode, format="binary")
        tells, limits = self.limits == REQUESTS, self.limits.server_settings()
        await self.servers.fitting.put_right(connection, own=bool(self.cache), tells=tells, limits=limits)

    async def ready(self) -> bool:
        """True when the database can serve requests; asked on a separate connection, answered within two seconds."""
        return not self.is_closing() and await self._probe.ready()

    @property
    def unfit(self) -> Unfit | None:
        """Why the database was not ready when that was asked last; None: it was, or nobody has asked."""
        return self._probe.unfit

    async def watch_servers(self, thorough: bool) -> None:
        """Detect quickly that the server in use hangs or was replaced; if it looks fine, ask all only if `thorough`."""
        if not await self.ready() or thorough:
            await self.servers.look()

    async def close(self) -> None:
        """As asyncpg's."""
        self._probe.close()
        if self.beside is not None:
            await self.beside.close()
        await super().close()

    def terminate(self) -> None:
        """As asyncpg's."""
        self._probe.close()
        if self.beside is not None:
            self.beside.terminate()
        super().terminate()

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """As asyncpg's, but without a task, a timer and turns of the event loop when there is nothing to wait for."""
        raw, holder = connection._con, connection._holder
        if raw is not None and not raw.is_closed():  # otherwise it was lost, and is back already
            if holder._pool is self and holder._generation != self._generation:
                raw.terminate()  # its server may not even receive a goodbye
                return
            self._returned = asyncio.get_running_loop().time()
            if isinstance(sys.exception(), CUT):
                await asyncio.shield(self._end(connection, raw, timeout))
                return
            if self._as_it_was(holder, raw):
                raw._on_release()
                holder._timeout = None
                holder._release()
                holder._setup_inactive_callback()
                return
        await super().release(connection, timeout=timeout)

    async def expire_connections(self) -> None:
        """As asyncpg's, but idle connections are terminated without a goodbye: their server hangs, and a task would
        wait for its answer."""
        await super().expire_connections()
        for holder in self._holders:
            if holder._in_use is None:
                holder.terminate()

    async def _end(self, connection: Any, raw: Any, timeout: float | None) -> None:  # noqa: ASYNC109
        """Give back a connection whose statement was interrupted.

        asyncpg asks for a statement's plan without ending that (no Sync). If the caller is cancelled before execution,
        the table locks and the time for now() stay with the connection, for whoever gets it minutes later. An empty
        query ends this.
        """
        try:
            await raw._protocol.query("", self.limits.statement)
        except Exception:
            raw.terminate()
        await super().release(connection, timeout=timeout)

    def _as_it_was(self, holder: Any, raw: Any) -> bool:
        """True when the next caller can use this connection as it is, so that giving it back waits for nothing."""
        protocol = raw._protocol
        return (
            holder._pool is self
            and protocol.queries_count < holder._max_queries
            and raw._top_xact is None
            and not protocol.is_in_transaction()
            and not protocol._is_cancelling()
            and not raw._listeners
        )

    def _at_hand(self) -> bool:
        """True when the next connection in the queue is free and good, so that acquiring it waits for nothing."""
        for holder in reversed(self._queue._queue):
            if holder.is_connected():
                return bool(holder._generation == self._generation)
        return False

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109
        if self.servers.doubts != self._doubts:
            self._doubts = self.servers.doubts
            await self.expire_connections()
        if timeout is None and self._at_hand():
            spent(CONNECTION, 0.0)
            connection = await super()._acquire(None)
            connection._holder._timeout = self.limits.acquire  # for repairs that may be needed when it is given back
            return connection
        loop = asyncio.get_running_loop()
        begun, free = loop.time(), self.get_idle_size() > 0
        try:
            connection = await super()._acquire(self.limits.acquire if timeout is None else timeout)
            self._waited(loop.time() - begun, free)
            return connection
        except TimeoutError:
            self._waited(loop.time() - begun, free)
            self.waits.failed += 1
            quiet = loop.time() - self._returned > self.limits.acquire
            if self.servers.away or quiet:  # if nothing was given back all the time, this is not load
                raise ConnectionError("no server answers") from None
            raise PoolBusy("no connection became free in time") from None

    def _waited(self, seconds: float, free: bool) -> None:
        spent(CONNECTION, seconds)
        if not free:
            self.waits.count += 1
            self.waits.seconds += seconds


def servers_of(settings: Settings) -> Servers:
    """The servers of `settings.database_url`, for all pools of a process. Raises StoreError."""
    check_url(settings.database_url)
    return Servers(settings.database_url, Lineage(settings.state_dir / FILE), settings.database_schema)


async def open_pool(
    settings: Settings, limits: Limits = REQUESTS, size: int = 0, servers: Servers | None = None
) -> Pool:
    """A pool on `settings.database_url` of at most `size` connections, 0: `database_pool_size`. Raises StoreError."""
    size, cache = size or settings.database_pool_size, settings.database_statement_cache
    return await opened(servers or servers_of(settings), size, limits, cache)


async def connect(
    url: str,
    size: int,
    limits: Limits = BACKGROUND,
    cache: int = CACHED_STATEMENTS,
    lineage: Lineage | None = None,
    schema: str = "",
) -> Pool:
    """A pool of at most `size` connections to `url`, using the tables of `schema` (empty: the role's default).

    Raises StoreError, or DatabaseAway: one line with server and reason.
    """
    check_url(url)
    return await opened(Servers(url, lineage, schema), size, limits, cache)


async def opened(servers: Servers, size: int, limits: Limits, cache: int) -> Pool:
    """A pool on these servers. Raises the same as `connect`."""
    url = servers.url
    try:
        await servers.survey()
        pool = Pool(servers, size, limits, cache)
        await pool
    except (*FAULTS, asyncpg.PostgresError, ValueError) as error:
        kind = DatabaseAway if isinstance(error, AWAY) and not _stays(error) else StoreError
        raise kind(f"database {servers.shown}: cannot connect: {_reason(url, error)}") from None
    return pool


def _stays(error: BaseException) -> bool:
    """Whether waiting does not help: the server must not be used, or it refuses the credentials or the database."""
    return isinstance(error, StaleServer) or any(said in str(error) for said in (PARAMETER, *FINAL))


def _reason(url: str, error: BaseException) -> str:
    """One line without user, password and parameters of `url`."""
    match error:
        case StaleServer():
            return str(error)
        case TimeoutError():
            return f"no answer within {HOST_SECONDS:.0f} s"
        case asyncpg.InvalidAuthorizationSpecificationError():
            return "the server refuses the user or the password"
        case asyncpg.exceptions.ClientConfigurationError() if "root certificate" in str(error):
            return "sslmode needs sslrootcert beside it, the PEM file of the authority of the server's certificate"
        case asyncpg.exceptions.ClientConfigurationError():
            return "a parameter behind the ? of the URL has a value that is not known"
        case FileNotFoundError() | PermissionError() if "sslrootcert=" in url or "sslcert=" in url:
            return f"a file that the URL names behind its ?: {error.strerror}"
        case FileNotFoundError():  # the socket does not exist
            return "no server listens there"
        case OSError() if set(_ERRNO.findall(str(error))) == {str(ECONNREFUSED)}:  # refused at each address of a name
            return "no server listens there"
        case asyncpg.ProtocolViolationError() if PARAMETER in str(error):
            return f"a pooler refuses settings of a session: {POOLER}"
        case asyncpg.DuplicatePreparedStatementError() | asyncpg.InvalidSQLStatementNameError():
            return f"a pooler mixes prepared statements: {POOLER}"
    text = in_words(error)
    return kind_of(error) if repeats_secret(url, text) else text


def _encode(value: Any) -> bytes:
    return b"\x01" + orjson.dumps(value)


def _decode(data: bytes) -> Any:
    return orjson.loads(memoryview(data)[1:])


async def _keep(connection: asyncpg.Connection) -> None:
    """Nothing to undo when a connection is given back: no caller changes session state, a reset costs a round trip.

    asyncpg itself rolls back an open transaction before it calls this.
    """
