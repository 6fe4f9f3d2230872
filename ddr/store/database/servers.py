"""Connects to one of the servers that the database's URL names: a short time for each, the last good one first."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import asyncpg
from asyncpg.transaction import Transaction

from ddr.call import statement
from ddr.store.database.dsn import Host, hosts, names_parameter, shown
from ddr.store.database.faults import FAULTS, StaleServer
from ddr.store.database.fitting import Fitting
from ddr.store.database.lineage import Lineage
from ddr.store.database.reaching import HOST_SECONDS, Names, NamesLoop
from ddr.store.database.server_states import ServerStates, label
from ddr.store.database.spreading import there

PORT = 5432  # of PostgreSQL, where the URL names none
CANCEL_SECONDS = 1.0  # for a server to stop a statement that took too long
USER_TIMEOUT_MS = 5_000  # until sent bytes must be acknowledged

_SCHEMA = "SELECT current_schema()"  # null: it does not exist yet


class _Bounded(Transaction):  # type: ignore[misc]
    """A transaction over several servers. Citus passes on no session settings, only those made within a transaction."""

    __slots__ = ()

    async def start(self) -> None:
        await super().start()
        if not self._nested:
            await self._connection.execute(f"SET LOCAL lock_timeout = {int(self._connection.lock_seconds * 1000)}")


class ServerConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that is given up when its server does not even stop a statement that took too long."""

    __slots__ = ("host", "lock_seconds", "servers")

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """As asyncpg's; the current request is told how long it took, as with those below."""
        with statement(query):
            status: str = await super().execute(self._text(query), *args, **options)
            return status

    async def executemany(self, command: str, *args: Any, **options: Any) -> Any:
        """As asyncpg's."""
        with statement(command):
            return await super().executemany(self._text(command), *args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        """As asyncpg's."""
        with statement(query):
            return await super().fetch(self._text(query), *args, **options)

    async def fetchmany(self, query: str, args: Any, **options: Any) -> Any:
        """As asyncpg's."""
        with statement(query):
            return await super().fetchmany(self._text(query), args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        """As asyncpg's."""
        with statement(query):
            return await super().fetchval(self._text(query), *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        """As asyncpg's."""
        with statement(query):
            return await super().fetchrow(self._text(query), *args, **options)

    def transaction(self, **options: Any) -> Transaction:
        """As asyncpg's; where patients are spread, a lock on any server is waited for as long as one on the first."""
        kind = _Bounded if hasattr(self, "lock_seconds") else Transaction
        return kind(self, options.get("isolation"), options.get("readonly", False), options.get("deferrable", False))

    def _text(self, query: str) -> str:
        servers = getattr(self, "servers", None)  # none while it is being connected
        return there(query) if servers is not None and servers.spread else query

    async def _cancel(self, waiter: Any, cancel_waiter: Any = None) -> None:
        try:
            async with asyncio.timeout(CANCEL_SECONDS) as limit:
                await super()._cancel(waiter, cancel_waiter)
        finally:
            self._cancellations.discard(asyncio.current_task())  # asyncpg looks for it in the loop that it was given
        if limit.expired():
            self.terminate()
            self.servers.doubt(self.host)


class Servers:
    """The servers of one URL in the order in which they are tried; `away` while none of them can be used.

    All pools of a process share it, so that each learns at once what one of them finds out.
    """

    def __init__(self, url: str, lineage: Lineage | None = None, schema: str = "", at: Host | None = None) -> None:
        """`schema`: the only schema whose tables connections see; empty: what the role uses by default. `at`: the one
        server to use instead of those that the URL names; the rest of the URL still applies."""
        self.url, self.schema = url, schema
        self.shown = shown(url) if at is None else label(at)
        self.lineage = lineage or Lineage()
        self.fitting = Fitting()
        self._names = Names()
        self.spread: bool | None = None  # over servers of Citus; None: not checked yet
        self.away = False
        self.doubts = 0  # how often open connections turned out to be useless, as far as that can be known
        found = hosts(url) if at is None else [at]
        self.order: list[Host | None] = list(found) if len(found) > 1 else [at]
        self.states = ServerStates(self.several)
        self._open: WeakSet[asyncpg.Connection] = WeakSet()
        # A recorder cannot use a standby, so when there is a choice it looks for the primary.
        primary = (self.several or at is not None) and not names_parameter(url, "target_session_attrs")
        self._wanted = {"target_session_attrs": "primary"} if primary else {}

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """A connection to the first usable server. Raises the error of the last one tried."""
        error: BaseException = ConnectionError("no server")
        for host in list(self.order):
            try:
                connection = await self._connect(host, options)
            except asyncio.CancelledError:  # its caller has waited too long; the next one begins with another server
                self._put(host, at_front=False)
                self.away = True
                raise
            except FAULTS as failed:
                self._put(host, at_front=False)
                error = failed
            else:
                connection.servers, connection.host = self, host
                self._open.add(connection)
                self._put(host, at_front=True)
                self.states.use(host)
                self.away = False
                return connection
        self.away = True
        raise error

    async def _connect(self, host: Host | None, options: dict[str, Any]) -> asyncpg.Connection:
        """A connection to this server, if it may be used; what is found out about it is remembered."""
        where = {} if host is None else {"host": host[0], "port": host[1]}
        try:
            for name, port in hosts(self.url) if host is None else [host]:
                await self._names.learn(name, port or PORT)
            with NamesLoop(self._names) as loop:
                options = {**options, **where, **self._wanted, "loop": loop}
                connection = await asyncpg.connect(self.url, timeout=HOST_SECONDS, **options)
                try:
                    _watch(connection)
                    async with asyncio.timeout(HOST_SECONDS):
                        newer = await self.lineage.check(connection)
                        await self._check_schema(connection)
                except BaseException:
                    connection.terminate()
                    raise
        except StaleServer as error:
            self.states.refuse(host, str(error))
            raise
        except asyncpg.TargetServerAttributeNotMatched:
            self.states.standby(host)
            raise
        except FAULTS as error:
            self.states.away(host, error)
            raise
        if newer:
            self._replaced_by(host)
        return connection

    async def _check_schema(self, connection: asyncpg.Connection) -> None:
        """Raises StaleServer when a pooler gives us sessions with the tables of somebody else."""
        if self.schema and (found := await connection.fetchval(_SCHEMA)) not in (None, self.schema):
            raise StaleServer(
                f"its sessions use the schema {found}, not {self.schema} of the setting database_schema; behind a"
                " pooler the role or the pooler sets it (docs/database.md)"
            )

    @property
    def several(self) -> bool:
        """True when there is more than one server to choose from."""
        return len(self.order) > 1

    async def look(self) -> None:
        """Ask the servers that are not in use whether one became the primary: the one in use may not know this."""
        await asyncio.gather(*(self._look(host) for host in self.order[1:]))

    async def survey(self) -> None:
        """Ask all servers before the first is used: if two say that they are the primary, only the newer one is."""
        if self.several:
            await asyncio.gather(*(self._look(host) for host in self.order))

    async def _look(self, host: Host | None) -> None:
        with suppress(*FAULTS):
            connection = await self._connect(host, {"command_timeout": HOST_SECONDS, "statement_cache_size": 0})
            await connection.close(timeout=HOST_SECONDS)

    def doubt(self, host: Host | None) -> None:
        """This server hangs: connections to it are given up, and the others are tried first."""
        self.doubts += 1
        self._put(host, at_front=False)

    def _replaced_by(self, host: Host | None) -> None:
        """This server writes a newer timeline: nothing that is still requested from the others can be acknowledged."""
        self.doubts += 1
        self._put(host, at_front=True)
        for connection in list(self._open):
            if connection.host != host and not connection.is_closed():
                connection.terminate()

    def _put(self, host: Host | None, at_front: bool) -> None:
        self.order.remove(host)
        self.order.insert(0 if at_front else len(self.order), host)


def _watch(connection: asyncpg.Connection) -> None:
    """Let the kernel notice within seconds that the machine at the other end is gone."""
    wire = connection._transport.get_extra_info("socket")
    if wire is None or wire.family == socket.AF_UNIX:
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": USER_TIMEOUT_MS}
    for name, value in options.items():
        if hasattr(socket, name):  # they differ between systems
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
