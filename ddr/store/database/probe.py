"""Can the database serve requests right now? Asked on a connection of its own, answered within two seconds.

The probe does what a request does: it begins a transaction, writes a little to the log and commits. So it fails on a
server that is read-only or waits for a standby (pg_logical_emit_message leaves nothing in any table). A sort that must
go to disk finds out whether the disk is full.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from ddr.reasons import kind_of
from ddr.store.database.faults import FAULTS, READ_ONLY, fault_of
from ddr.store.database.kept import MARK
from ddr.store.database.limits import Limits, session_options
from ddr.store.database.server_states import READ_ONLY_SERVER
from ddr.store.database.servers import Servers

SECONDS = 1.5
LIMITS = Limits(acquire=SECONDS, statement=SECONDS, lock=SECONDS)

_WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
# By two columns: PostgreSQL 18 does not count the memory for texts that it sorts by one, and keeps them in it.
_SPILL = (
    "SELECT max(t) FROM (SELECT repeat(md5(g::text), 8) AS t FROM generate_series(1, 1000) g ORDER BY t, g OFFSET 0) s"
)
_LOG = f"SELECT {MARK}"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unfit:
    """Why the database is not fit for requests; `stores`: False if that is because it takes no writes. `limited`: it
    answers, but has no memory, locks, connections or temporary files left to give."""

    error: str
    stores: bool = True
    limited: bool = False


class Probe:
    """Asks one question at a time; concurrent callers get the same answer. `unfit`: the last one, None: fit."""

    def __init__(self, servers: Servers, cache: int) -> None:
        self._servers = servers
        self._options = session_options(LIMITS, cache, servers.schema)
        self._connection: asyncpg.Connection | None = None
        self._asking: asyncio.Task[bool] | None = None
        self.unfit: Unfit | None = None

    async def ready(self) -> bool:
        """True when the database answers, is writable, has disk space, and commits; a new reason why not is logged."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    def close(self) -> None:
        """Close the connection."""
        if self._asking is not None:
            self._asking.cancel()
        self._drop()

    async def _ask(self) -> bool:
        task = asyncio.create_task(self._answer())
        done, _ = await asyncio.wait([task], timeout=SECONDS)
        if done and task.exception() is None:
            return self._found(task.result())
        connection = self._connection
        self._drop()  # nobody waits for what a hanging server may still answer
        if connection is not None and not done and self._servers.several:
            self._servers.doubt(connection.host)
        task.add_done_callback(_no_matter)
        task.cancel()
        error = (task.exception() if done else None) or TimeoutError()
        if not isinstance(error, FAULTS):
            raise error
        stores = fault_of(error) != READ_ONLY
        limited = stores and isinstance(error, asyncpg.InsufficientResourcesError)  # not a full disk
        return self._found(Unfit(kind_of(error), stores, limited))

    def _found(self, unfit: Unfit | None) -> bool:
        before, self.unfit = self.unfit, unfit
        if unfit is not None and unfit != before:
            log.warning("database.unfit", extra={"error": unfit.error})
        return unfit is None

    async def _answer(self) -> Unfit | None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._servers.connect(**self._options)
        connection = self._connection
        async with connection.transaction():
            if not await connection.fetchval(_WRITABLE):
                self._servers.states.refuse(connection.host, READ_ONLY_SERVER)
                return Unfit(READ_ONLY_SERVER, stores=False)
            await connection.execute("SET LOCAL work_mem = '64kB'")
            await connection.execute(_SPILL)
            await connection.execute(_LOG)
        self._servers.states.use(connection.host)
        return None

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*FAULTS):
                connection.terminate()


def _no_matter(task: asyncio.Task[Unfit | None]) -> None:
    """Retrieve the result that nobody awaits; otherwise asyncio reports an exception that was never retrieved."""
    if not task.cancelled():
        task.exception()
