"""The request log of one worker: a record, with its entries of the audit trail, is durable before its answer leaves.

Records of requests that end at the same time form one row, stored by one statement: while one is being stored, the next
ones gather (group commit). Every answer waits for that, so it takes few steps of the event loop: a connection is kept
as long as there is something to store, and served requests are notified before refused ones. While the database is
away, records go to a file on this host, from which they are stored later. Entries do not: then an answer with data is
withheld. So is an answer that rests on a commit which did not wait for the disk: it is durable with its record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from contextvars import Context
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import asyncpg

from ddr.http.pace import Pace
from ddr.http.request_log.spool import Spool, taken
from ddr.reasons import in_words, kind_of
from ddr.store.audit import request_log as store
from ddr.store.audit.request_log import Batch, Retired
from ddr.store.audit.trail import NewEntry
from ddr.store.database.faults import FAULTS

MOST = 1000  # records in one row
KEEP_ROWS = 50  # stored over one connection before somebody else may have it
PATIENCE_SECONDS = 3.0  # for the database to store a row: a checkpoint may block its disk for more than a second
STEPS = 15  # in which that time passes
KEPT = 1000  # rows in memory, when there is neither a database nor disk space
AT_ONCE = 100  # rows stored together when they come from a file, or from memory
LOOK_SECONDS = 20.0  # between two looks for files of dead processes
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """A record and its entries of the audit trail, to be made durable together."""

    record: bytes
    durable: asyncio.Future[bool] | None  # what the answer waits for: may it leave? None: no answer waits
    refused: bool = False
    entries: Sequence[NewEntry] = ()
    withheld: Callable[[], bytes] | None = None  # the record that replaces this one if the answer may not leave
    retired: Retired | None = None  # by the rotation that the answer tells of

    @property
    def needs_database(self) -> bool:
        """Whether a file is not enough."""
        return bool(self.entries) or self.retired is not None

    def spooled(self) -> bytes:
        """The record for a file, which cannot contain entries of the audit trail."""
        return self.withheld() if self.needs_database and self.withheld else self.record


class _Row(NamedTuple):
    """What is stored by one statement."""

    waiting: Sequence[_Waiting]
    batch: Batch
    entries: Sequence[NewEntry]
    retired: Sequence[Retired]

    def tell(self, stored: bool) -> None:
        """Notify those who wait, served requests before refused ones; `stored` is whether the database has the row."""
        for one in sorted(self.waiting, key=lambda one: one.refused):
            if one.durable is not None and not one.durable.done():
                one.durable.set_result(stored or not one.needs_database)


class _Patience:
    """Calls `out` when the event loop has waited for PATIENCE_SECONDS.

    It waits in steps: while the process is suspended or its loop is busy, nobody notices that the database has
    answered.
    """

    __slots__ = ("_handle", "_left", "_out")

    def __init__(self, out: Callable[[], None]) -> None:
        self._out, self._left = out, STEPS
        self._wait()

    def cancel(self) -> None:
        """Cancel it."""
        self._handle.cancel()

    def _wait(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(PATIENCE_SECONDS / STEPS, self._step)

    def _step(self) -> None:
        self._left -= 1
        if self._left:
            self._wait()
        else:
            self._out()


class RequestLog:
    """Where the records of this process go: to the database behind `pool`, or into `folder`."""

    def __init__(self, pool: asyncpg.Pool, folder: Path) -> None:
        self._pool = pool
        self._run, self._batch_no = uuid4(), 0
        self._spool = Spool(folder, self._run)
        self._waiting: list[_Waiting] = []
        self._kept: deque[Batch] = deque(maxlen=KEPT)
        self._storing: asyncio.Task[None] | None = None  # while there is something to store
        self._tasks: set[asyncio.Task[None]] = set()  # that one, and those whose statement did not end in time
        self._refusals = Pace()
        self._away = False
        self._looked = 0.0

    async def write(
        self,
        record: bytes,
        refused: bool = False,
        entries: Sequence[NewEntry] = (),
        withheld: Callable[[], bytes] | None = None,
        retired: Retired | None = None,
    ) -> bool:
        """Returns when `record` and `entries` are durable, or when nothing can be done for them now, which is logged.

        False: they are not in the database, or the rotation of the `retired` token is not, so the answer must not
        leave, and the record is what `withheld` gives; that is only said of answers with `entries` or a `retired`
        token. Those that are `refused` return one by one, each in its own round of the event loop: sending many
        refusals at once would keep everybody else waiting.
        """
        durable: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._add(_Waiting(record, durable, refused, entries, withheld, retired))
        stored = await durable
        if refused:
            await self._refusals.step()
        return stored

    def note(self, record: bytes, entries: Sequence[NewEntry] = ()) -> None:
        """Write a record for which no answer waits."""
        self._add(_Waiting(record, None, entries=entries))

    async def recover(self) -> None:
        """Store what could not be stored before, from this process and from dead ones of this host. Raises FAULTS; and,
        at the end, OSError when a file cannot be read."""
        if not (self._away or self._kept) and time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        unread = await self._store_spooled()
        while late := [*islice(self._kept, AT_ONCE)]:
            await store.add_late(self._pool, late)
            while self._kept and self._kept[0] in late:  # some may have been replaced meanwhile
                self._kept.popleft()
        if self._away:
            await self._pool.fetchval("SELECT 1")
            self._away = False
            log.info("request_log.stored_again")
        if unread is not None:
            self._looked = -LOOK_SECONDS  # also look the next time: a lasting fault is reported once, and not as fixed
            raise unread

    async def _store_spooled(self) -> OSError | None:
        """Store what is in files, and delete these. Returns the fault of a file that cannot be read. Raises FAULTS."""
        unread: OSError | None = None
        for path in await asyncio.to_thread(self._spool.waiting):
            with ExitStack() as stack:
                try:
                    content = stack.enter_context(taken(path))
                except OSError as error:  # of the disk; the others need not wait for it
                    unread = error
                    continue
                if content is None:
                    continue
                for at in range(0, len(content.batches), AT_ONCE):
                    await store.add_late(self._pool, content.batches[at : at + AT_ONCE])
                if content.damaged:
                    log.error("request_log.spool_damaged", extra={"count": content.damaged})
                path.unlink(missing_ok=True)
        return unread

    async def close(self) -> None:
        """Wait until everything that was noted is durable."""
        while self._storing is not None:
            await asyncio.shield(self._storing)

    def _add(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if self._storing is None:
            self._start_storing()

    def _start_storing(self, late: _Row | None = None) -> None:
        task = asyncio.get_running_loop().create_task(self._store_waiting(late), context=Context())
        self._storing = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store_waiting(self, late: _Row | None) -> None:
        """Make durable what waits, row by row, until nothing does; first, in a file, a row for which another task
        waited too long. This task may be abandoned in the same way: then `_storing` is another one, which does this.

        Notifying them and starting the next row's statement is one step of the event loop: with many requests in
        progress, a further step would make each answer wait for all of them once more.
        """
        me, connection = asyncio.current_task(), None
        try:
            if late is not None:
                await self._spool_row(late)
            while self._storing is me and self._waiting:
                row, failure = self._next_row(), None
                if self._away and not any(one.needs_database for one in row.waiting):
                    await self._spool_row(row)
                    continue
                patience = _Patience(partial(self._abandon, me, row))
                try:
                    connection = connection or await self._pool.acquire()
                    await store.add(connection, row.batch, row.entries, row.retired)
                except Exception as error:
                    failure = kind_of(error)
                finally:
                    patience.cancel()
                if failure and self._storing is me:
                    self._database_is_away(failure)
                    await self._spool_row(row)
                elif self._storing is me:
                    row.tell(stored=True)
                if failure or not row.batch.batch_no % KEEP_ROWS:
                    await self._release(connection)
                    connection = None
        finally:
            await self._release(connection)
            if self._storing is me:
                self._storing = None
                if self._waiting:  # it came while the connection was given back
                    self._start_storing()

    def _next_row(self) -> _Row:
        """Up to MOST records that wait now."""
        now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._batch_no += 1
        entries = [entry for one in now for entry in one.entries]
        retired = [one.retired for one in now if one.retired]
        return _Row(now, Batch(self._run, self._batch_no, b"\n".join(one.record for one in now)), entries, retired)

    def _abandon(self, task: asyncio.Task[None] | None, row: _Row) -> None:
        """The statement for `row` takes too long: its task is left to end by itself, and another task continues."""
        if self._storing is task:
            self._database_is_away("TimeoutError")
            self._start_storing(row)

    async def _release(self, connection: asyncpg.Connection | None) -> None:
        if connection is not None:
            with suppress(*FAULTS):
                await self._pool.release(connection)

    async def _spool_row(self, row: _Row) -> None:
        """Write it to a file, without entries of the audit trail; keep it in memory when the disk takes nothing."""
        batch = replace(row.batch, records=b"\n".join(one.spooled() for one in row.waiting))
        try:
            await asyncio.to_thread(self._spool.append, batch)
        except Exception as error:  # a full disk, or no thread available: those who wait are notified all the same
            self._kept.append(batch)
            log.error("request_log.not_durable", extra={"reason": in_words(error)})
        row.tell(stored=False)

    def _database_is_away(self, error: str) -> None:
        self._away = True
        log.warning("request_log.spooled", extra={"error": error})
