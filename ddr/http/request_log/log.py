"""The request log of one worker: a record is durable before its answer leaves.

Records of requests that end at the same time go together into one row: while one is being stored, the next ones gather
(group commit). While the database is away they go to a file of this host, from where they follow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextvars import Context
from pathlib import Path
from uuid import uuid4

import asyncpg

from ddr.http.request_log.spool import Spool, taken
from ddr.store.audit import request_log as store
from ddr.store.audit.request_log import Batch

MOST = 1000  # records in one row
PATIENCE_SECONDS = 1.5  # for the database to store a row
KEPT = 1000  # rows in memory, when there is neither a database nor room on the disk
AT_ONCE = 100  # rows stored together when they come from a file
LOOK_SECONDS = 20.0  # between two looks for what dead processes have left behind
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class RequestLog:
    """Where the records of this process go: to the database behind `pool`, or into `folder`."""

    def __init__(self, pool: asyncpg.Pool, folder: Path) -> None:
        self._pool = pool
        self._run, self._batch_no = uuid4(), 0
        self._spool = Spool(folder, self._run)
        self._waiting: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self._kept: deque[Batch] = deque(maxlen=KEPT)
        self._flushing: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[None]] = set()  # statements that did not end in time
        self._away = False
        self._looked = 0.0

    async def write(self, record: bytes) -> None:
        """Returns when `record` is durable, or when nothing can be done for it now; the log says so then."""
        durable = asyncio.get_running_loop().create_future()
        self._add(record, durable)
        await durable

    def note(self, record: bytes) -> None:
        """Write a record on which no answer waits."""
        self._add(record, None)

    async def recover(self) -> None:
        """Store what could not be stored before, of this process and of dead ones of this host. Raises FAULTS."""
        if not (self._away or self._kept) and time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for path in await asyncio.to_thread(self._spool.waiting):
            with taken(path) as batches:
                if batches is None:
                    continue
                for at in range(0, len(batches), AT_ONCE):
                    await store.add_late(self._pool, batches[at : at + AT_ONCE])
                path.unlink(missing_ok=True)
        while self._kept:
            await store.add_late(self._pool, [self._kept[0]])
            self._kept.popleft()
        if self._away:
            await self._pool.fetchval("SELECT 1")
            self._away = False
            log.info("request_log.stored_again")

    async def close(self) -> None:
        """Until everything that was noted is durable."""
        while self._flushing is not None:
            await asyncio.shield(self._flushing)

    def _add(self, record: bytes, durable: asyncio.Future[None] | None) -> None:
        self._waiting.append((record, durable))
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush(), context=Context())

    async def _flush(self) -> None:
        try:
            while self._waiting:
                now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                self._batch_no += 1
                await self._keep(Batch(self._run, self._batch_no, b"\n".join(record for record, _ in now)))
                for _, durable in now:
                    if durable is not None and not durable.done():
                        durable.set_result(None)
        finally:
            self._flushing = None

    async def _keep(self, batch: Batch) -> None:
        if not self._away and await self._stored(batch):
            return
        try:
            await asyncio.to_thread(self._spool.append, batch)
        except OSError as error:
            self._kept.append(batch)
            log.error("request_log.not_durable", extra={"reason": error.strerror})

    async def _stored(self, batch: Batch) -> bool:
        """Whether the database has it for certain. A statement that takes too long is left to end by itself."""
        storing = asyncio.get_running_loop().create_task(store.add(self._pool, batch))
        done, _ = await asyncio.wait([storing], timeout=PATIENCE_SECONDS)
        if not done:
            self._late.add(storing)
            storing.add_done_callback(self._ended)
            self._be_away("TimeoutError")
            return False
        if error := storing.exception():
            self._be_away(type(error).__name__)
            return False
        return True

    def _ended(self, storing: asyncio.Task[None]) -> None:
        self._late.discard(storing)
        if not storing.cancelled():
            storing.exception()  # the batch is in the spool

    def _be_away(self, error: str) -> None:
        self._away = True
        log.warning("request_log.spooled", extra={"error": error})
