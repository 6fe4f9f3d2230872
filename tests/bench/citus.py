"""The database cost of requests with patients spread over servers, against plain PostgreSQL: alternating, on Citus.

python -m tests.bench.citus, with DDR_TEST_CITUS_URL as for make citus-test, and all servers on this machine: processor
time is what the scheduler reports for their processes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import asyncpg

from ddr.fhir.instants import date_time
from ddr.miv.loader import load_catalog
from ddr.settings import MivSettings
from ddr.settings_sources import load_settings
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import connect, open_pool
from tests.spec.world import MINUTE, Scene, furnished
from tests.support.citus import COORDINATOR, spread_database
from tests.support.reached import execute, on
from tests.support.received import received
from tests.support.recorder import Recorder, recorder

WARM, ROUNDS, REQUESTS = 100, 15, 40

Request = Callable[[], Awaitable[None]]


class Database:
    """One database, the requests that are made of its recorder, and the processor time of its processes in ms."""

    def __init__(self, url: str, requests: Mapping[str, Request]) -> None:
        self.url, self.name, self.requests = url, url.rpartition("/")[2], requests

    async def spent(self) -> tuple[float, float]:
        """Of all servers, and of the one that the recorder is connected to."""
        conn = await asyncpg.connect(self.url)
        try:
            rows = await conn.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
            times = self._times()
            del times[conn.get_server_pid()]  # this question's own
        finally:
            await conn.close()
        first = {row["pid"] for row in rows}
        return sum(times.values()), sum(ms for pid, ms in times.items() if pid in first)

    def _times(self) -> dict[int, float]:
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                said = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
                if said.startswith(b"postgres:") and self.name.encode() in said:
                    found[int(folder.name)] = int((folder / "schedstat").read_text().split()[0]) / 1e6
            except OSError:  # it has just ended
                continue
        return found


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    with TemporaryDirectory(prefix="ddr-bench-") as folder:
        state = Path(folder)
        settings = load_settings({}, database_url=url, state_dir=state, allow_builtin_accounts=True)
        mivs = load_catalog(settings.miv_packages, {}).mivs
        terms = {one.name: MivSettings(0, one.min_historic_days, one.vendor_holdup_seconds) for one in mivs}
        async with await open_pool(settings, size=4) as pool, recorder(pool, settings, state, received, terms) as ddr:
            yield Database(url, _requests(ddr, await furnished(ddr)))


def _requests(ddr: Recorder, scene: Scene) -> Mapping[str, Request]:
    reader, gateway = scene.reader, scene.home.patient.gateway
    for client in (reader.diga.http, gateway):
        client.event_hooks = {}
    later = date_time(ddr.clock() + 10_000_000).replace("+", "%2B")
    began_ms, sent = ddr.clock(), [0]

    def search(query: str) -> Request:
        async def request() -> None:
            assert (await reader.get(f"Observation?{query}")).status_code == 200

        return request

    chunk = [""]

    async def read() -> None:
        chunk[0] = chunk[0] or (await reader.ids("Observation?code=99504-3&_sort=-date&_count=1"))[0]
        assert (await reader.get(f"Observation/{chunk[0]}")).status_code == 200

    async def refresh() -> None:
        reader.tokens = await reader.diga.client.refresh(reader.tokens)

    async def measurement() -> None:
        sent[0] += 1
        taken = {"device": "meter", "effective": date_time(began_ms - sent[0] * 1000)}
        body = {"code": "2339-0", "value": 100, "unit": "mg/dL", **taken}
        assert (await gateway.put(f"measurements/b{sent[0]}", json=body)).status_code == 201

    async def readings() -> None:
        ddr.clock.ms += 5 * MINUTE
        body = {"unit": "mg/dL", "readings": [{"time": date_time(ddr.clock()), "value": 100}]}
        answer = await gateway.post("devices/cgm/sensors/s/readings", json=body)
        assert answer.json()["accepted"] == 1

    return {
        "poll by _lastUpdated, nothing new": search(f"code=99504-3&_lastUpdated=gt{later}"),
        "newest chunk": search("code=99504-3&_sort=-date&_count=1"),
        "search with devices": search("code=99504-3&_include=Observation:device"),
        "read of a chunk": read,
        "refresh of a token": refresh,
        "upload of a measurement": measurement,
        "upload of a reading": readings,
    }


@asynccontextmanager
async def _plain(coordinator: str) -> AsyncIterator[str]:
    """The URL of a new database with the schema on the coordinator alone; dropped afterwards."""
    name = f"ddr_bench_{os.getpid()}_{secrets.token_hex(4)}"
    await execute(coordinator, f'CREATE DATABASE "{name}"')
    try:
        async with await connect(on(coordinator, name), 1) as pool:
            await migrate(pool)
        yield on(coordinator, name)
    finally:
        await execute(coordinator, f'DROP DATABASE "{name}" WITH (FORCE)')


async def main() -> None:
    """Print for each kind of request what it takes, in ms of processor time, and the ratio."""
    coordinator = os.environ[COORDINATOR]
    async with AsyncExitStack() as stack:
        plain_url = await stack.enter_async_context(_plain(coordinator))
        spread_url = await stack.enter_async_context(spread_database(coordinator))
        plain, spread = [await stack.enter_async_context(_database(url)) for url in (plain_url, spread_url)]
        print(f"{'ms of processor time':36} {'plain':>6} {'spread':>7} {'of which the coordinator':>25} {'ratio':>6}")
        for kind in plain.requests:
            for one in (plain, spread):
                await _round(one, kind, WARM)
            rounds = [(await _round(plain, kind), await _round(spread, kind)) for _ in range(ROUNDS)]
            times = [median(values) for values in zip(*((one[0], *other) for one, other in rounds), strict=True)]
            ratio = median(other[0] / one[0] for one, other in rounds)
            print(f"{kind:36} {times[0]:6.2f} {times[1]:7.2f} {times[2]:25.2f} {ratio:6.2f}", flush=True)


async def _round(database: Database, kind: str, requests: int = REQUESTS) -> tuple[float, float]:
    before = await database.spent()
    for _ in range(requests):
        await database.requests[kind]()
    after = await database.spent()
    return (after[0] - before[0]) / requests, (after[1] - before[1]) / requests


if __name__ == "__main__":
    asyncio.run(main())
