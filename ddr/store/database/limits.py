"""How long to wait for statements, locks and connections: seconds in requests, longer in other work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

from ddr.store.database.prepared import LONGEST_CACHED
from ddr.store.database.servers import ServerConnection


@dataclass(frozen=True)
class Limits:
    """All in seconds. The server's limit for statements is higher than ours, so that ours takes effect first."""

    acquire: float
    statement: float
    lock: float

    def server_settings(self) -> dict[str, str]:
        """The same limits for the server, which also ends what a lost client has left behind."""
        return {
            "statement_timeout": f"{int(self.statement * 1250)}ms",
            "lock_timeout": f"{int(self.lock * 1000)}ms",
            "idle_in_transaction_session_timeout": f"{int(self.statement * 2500)}ms",
        }


REQUESTS = Limits(acquire=3, statement=5, lock=1.5)
BACKGROUND = Limits(acquire=30, statement=60, lock=10)


class _Limited(Transaction):  # type: ignore[misc]
    """A transaction that sets its limits itself, because a pooler may give each one another session of the server."""

    __slots__ = ()

    async def start(self) -> None:
        await super().start()
        limits = self._connection.limits.server_settings()
        await self._connection.execute(";".join(f"SET LOCAL {name} = '{value}'" for name, value in limits.items()))


class PooledConnection(ServerConnection):
    """A connection through a pooler in transaction mode."""

    __slots__ = ()
    limits = REQUESTS

    def transaction(self, **options: Any) -> Transaction:
        """As asyncpg's, with the limits that a direct connection has from its start."""
        return _Limited(
            self, options.get("isolation"), options.get("readonly", False), options.get("deferrable", False)
        )


class PooledBackgroundConnection(PooledConnection):
    """As PooledConnection, with the limits of work for which no request waits."""

    __slots__ = ()
    limits = BACKGROUND


def session_options(limits: Limits, cache: int, schema: str = "") -> dict[str, Any]:
    """The options of asyncpg for each connection. A pooler (`cache` 0) accepts no settings of a session: there the role
    or the pooler sets the schema, and `ddr.store.database.servers` checks that it does."""
    settings = {"application_name": "ddr"}
    if cache and schema:
        settings["search_path"] = f'"{schema}"'
    kind: type[asyncpg.Connection] = ServerConnection
    if cache:
        settings |= {**limits.server_settings(), "jit": "off"}  # short statements: compiling costs more than it saves
        if limits == REQUESTS:  # they name a patient; a plan for one with years of data is worse, not better
            settings["plan_cache_mode"] = "force_generic_plan"
    else:
        kind = PooledConnection if limits == REQUESTS else PooledBackgroundConnection
    return {
        "command_timeout": limits.statement,
        "statement_cache_size": cache,
        "max_cacheable_statement_size": LONGEST_CACHED if cache else 0,
        "server_settings": settings,
        "connection_class": kind,
    }
