"""The cost of a request in units that do not depend on the machine, with limits for each kind of request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg

from ddr.http.core import Core
from ddr.http.request_log.log import RequestLog
from ddr.store.database.pool import open_pool
from tests.support.counting import counted
from tests.support.database import embedded_server, migrated_database
from tests.support.history import wear
from tests.support.touched import touched

CROWD, STRANGERS = 200, 5_000  # patients with a month of values, and without any
WARM, TIMES = 6, 5  # executions until plans and caches are warm, and executions of which the cheapest counts

OWN = 2  # statements of the measurement itself
# Of the whole server, which serves this measurement alone; because of its background work the cheapest counts.
_WRITTEN = "SELECT pg_current_wal_insert_lsn() - '0/0', pg_snapshot_xmax(pg_current_snapshot())::text::numeric"


@dataclass(frozen=True)
class Work:
    """Statements, each one round trip, including transactions' BEGIN and COMMIT; blocks and rows as in `Touched`.

    Also bytes of write-ahead log, on pages already written since the last checkpoint, and transaction ids.
    """

    statements: int
    blocks: int
    fetched: int
    written: int
    wal: int
    transactions: int

    def __le__(self, most: Work) -> bool:
        return all(value <= limit for value, limit in zip(vars(self).values(), vars(most).values(), strict=True))


@asynccontextmanager
async def among_others(core: Core) -> AsyncIterator[Core]:
    """`core` on a server of its own with a crowd of patients, so that plans and figures are always the same."""
    with _own_server() as server:
        async with _crowded(core, server) as own:
            yield own


@contextmanager
def _own_server() -> Iterator[str]:
    with TemporaryDirectory(prefix="ddr-tests-") as folder:
        Path(folder).chmod(0o755)  # the server may run under another account
        with embedded_server(Path(folder)) as url:
            yield url


@asynccontextmanager
async def _crowded(core: Core, server: str) -> AsyncIterator[Core]:
    async with migrated_database(server) as url:
        settings = replace(core.settings, database_url=url)
        async with await open_pool(settings) as pool:
            log = RequestLog(pool, settings.request_log_folder)
            own = replace(core, settings=settings, pool=pool, request_log=log)
            await pool.execute("INSERT INTO patient SELECT gen_random_uuid(), 0 FROM generate_series(1, $1)", STRANGERS)
            await wear(own, [uuid4() for _ in range(CROWD)], 30)
            await pool.execute("VACUUM ANALYZE")
            yield own


async def work_of(pool: asyncpg.Pool, request: Callable[[], Awaitable[object]]) -> Work:
    """The database cost of the request when it is repeated."""
    found = []
    for _ in range(WARM):
        await request()
    for _ in range(TIMES):
        async with touched(pool) as work, counted(pool) as statements:
            before = await pool.fetchrow(_WRITTEN)
            await request()
            after = await pool.fetchrow(_WRITTEN)
        logged = [int(later - earlier) for earlier, later in zip(before, after, strict=True)]
        found.append((len(statements) - OWN, work.blocks, work.fetched, work.written, *logged))
    return Work(*map(min, zip(*found, strict=True)))
