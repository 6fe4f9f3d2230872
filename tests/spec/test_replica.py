"""A standby serves only displays, if it has all that the primary has; decisions and searches use the primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest

from ddr.cli.operator import reading
from ddr.http.clock import now_ms
from ddr.http.core import Core
from ddr.operations.request_log import sealing
from ddr.operations.research import Terms, prepare
from ddr.settings import Settings
from ddr.store.authorization.research import withdraw
from ddr.store.database.errors import StoreError
from ddr.store.database.migrate import migrate_database
from ddr.store.database.pool import Pool, open_pool
from ddr.store.database.replica import Replica
from tests.cli import recorder as process
from tests.spec.conftest import received
from tests.spec.patient_pages import PatientPages, pages_of
from tests.spec.world import BG, CGM, Home, paired
from tests.support.counting import counted
from tests.support.postgres import Server
from tests.support.recorder import Patient, Recorder, recorder
from tests.support.volunteers import BERLIN, LEAST, approved, moment, volunteer

pytestmark = pytest.mark.packaging

PAGES = ("/me", "/me/access", "/me/devices", "/me/data", "/me/data/values")
FILES = (
    *("/me/data.csv", "/me/data-excel.csv", "/me/data.json"),
    *("/me/consents.csv", "/me/consents-excel.csv", "/me/accesses.csv", "/me/accesses-excel.csv"),
)
PATIENCE_MS = 20_000  # a busy machine replays late; tests of the lag set less


class Pair:
    """A primary and its standby."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.primary, self.standby = Server(folder / "primary"), Server(folder / "standby")
        for each in (self.primary, self.standby):
            stack.callback(each.dispose)
        self.primary.start()
        self.standby.copy(self.primary)
        self.standby.start()

    async def ask(self, server: Server, query: str) -> object:
        """The first value of the server's response."""
        connection = await asyncpg.connect(server.url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def scans(self, server: Server, tables: str) -> int:
        """How often ended sessions asked a server for rows of tables whose names begin like this."""
        found = await self.ask(
            server,
            "SELECT coalesce(sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)), 0)::bigint FROM pg_stat_user_tables"
            f" WHERE relname LIKE '{tables}%'",
        )
        assert isinstance(found, int)
        return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path_factory.mktemp("pair"), stack)


@pytest.fixture(scope="module")
def own(pair: Pair, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings for both, and the schema."""
    found = replace(
        settings,
        database_url=pair.primary.url,
        database_replica_url=pair.standby.url,
        database_replica_milliseconds=PATIENCE_MS,
        database_statement_cache=Settings.database_statement_cache,
        state_dir=tmp_path_factory.mktemp("own"),
    )
    migrate_database(found)
    return found


@pytest.fixture
async def pool(own: Settings) -> AsyncIterator[Pool]:
    async with await open_pool(own) as pool:
        yield pool


@pytest.fixture
async def replica(own: Settings, pool: Pool) -> AsyncIterator[Replica]:
    found = Replica(own)
    await found.look(pool)
    yield found
    found.close()


@pytest.fixture
async def ddr(own: Settings, pool: Pool, replica: Replica, tmp_path: Path) -> AsyncIterator[Recorder]:
    async with recorder(pool, own, tmp_path / "recorder", received, {}) as running:
        running.core.replica = replica
        yield running


@pytest.fixture
async def patient(ddr: Recorder) -> Patient:
    """A patient with devices and data."""
    found = await ddr.patient()
    await Home(ddr, found).furnish()
    return found


@pytest.fixture
async def pages(ddr: Recorder, patient: Patient) -> PatientPages:
    return await pages_of(ddr, patient)


async def read_by(replica: Replica, pages: PatientPages, path: str) -> str:
    """The server that answered."""
    before = replica.reads, replica.passed_over
    assert (await pages.get(path)).status_code == httpx.codes.OK
    return {(1, 0): "standby", (0, 1): "primary"}[replica.reads - before[0], replica.passed_over - before[1]]


async def back(pool: Pool, replica: Replica, pages: PatientPages) -> None:
    """Wait until the standby is read again; after it has failed to answer in time it is not asked for a while."""
    replica._patience = PATIENCE_MS / 1000
    async with asyncio.timeout(180):
        while await read_by(replica, pages, "/me") != "standby":
            await asyncio.sleep(0.1)
            await replica.look(pool)


async def test_the_pages_of_patients_are_read_there(ddr: Recorder, replica: Replica, pages: PatientPages) -> None:
    standby = replica._pool
    assert standby is not None
    for path in (*PAGES, *FILES):
        async with counted(ddr.core.pool) as on_primary, counted(standby) as on_standby:
            assert await read_by(replica, pages, path) == "standby"
        data = [
            query for query in on_primary if any(f"FROM {name}" in query for name in ("chunk", "measurement", "audit"))
        ]
        assert not data, path
        assert on_standby, path


async def test_what_was_written_is_seen_at_once(
    ddr: Recorder, pair: Pair, pool: Pool, replica: Replica, patient: Patient, pages: PatientPages
) -> None:
    """While the standby stands still, the primary answers; when the standby continues, it answers again."""
    home = Home(ddr, patient)
    replica._patience = 0.05
    await pair.ask(pair.standby, "SELECT pg_wal_replay_pause()")
    try:
        await home.device("new", name="Brand new")
        before = replica.passed_over
        assert "Brand new" in (await pages.get("/me/devices")).text
        assert replica.passed_over == before + 1
    finally:
        await pair.ask(pair.standby, "SELECT pg_wal_replay_resume()")
    await back(pool, replica, pages)
    for number in range(10):
        await home.device(f"d{number}", name=f"Device no. {number}")
        assert f"Device no. {number}" in (await pages.get("/me/devices")).text


async def test_decisions_and_searches_are_not(ddr: Recorder, replica: Replica, patient: Patient) -> None:
    standby = replica._pool
    assert standby is not None
    async with counted(standby) as on_standby:
        reader = await paired(ddr, patient, BG)
        for path in ("Observation", "Device", "DeviceMetric"):
            assert (await reader.get(path)).status_code == httpx.codes.OK
    assert on_standby == []


async def test_it_may_go_and_come_back(pair: Pair, pool: Pool, replica: Replica, pages: PatientPages) -> None:
    pair.standby.kill()
    for path in PAGES:
        assert await read_by(replica, pages, path) == "primary"
    await replica.look(pool)
    assert await read_by(replica, pages, "/me") == "primary"
    pair.standby.start()
    await back(pool, replica, pages)


async def test_it_may_hang(pair: Pair, pool: Pool, replica: Replica, pages: PatientPages) -> None:
    assert await read_by(replica, pages, "/me") == "standby"
    replica._patience = 0.05
    pair.standby.pause()
    try:
        for path in PAGES:
            assert await read_by(replica, pages, path) == "primary"
    finally:
        pair.standby.resume()
    await back(pool, replica, pages)


async def test_another_cluster_is_none(own: Settings, pool: Pool, tmp_path: Path) -> None:
    other = Server(tmp_path / "other")
    try:
        other.start()
        replica = Replica(replace(own, database_replica_url=other.url))
        await replica.look(pool)
        assert await replica.instead_of(pool) is pool
    finally:
        other.dispose()


async def test_another_database_of_the_cluster_is_none(
    pair: Pair, own: Settings, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be another recorder's."""
    elsewhere = pair.standby.url.replace("@/postgres?", "@/template1?")
    replica = Replica(replace(own, database_replica_url=elsewhere))
    await replica.look(pool)
    assert await replica.instead_of(pool) is pool
    assert [record.__dict__["reason"] for record in caplog.records if record.msg == "database.replica_away"] == [
        "names another database than database_url"
    ]


async def test_nor_is_the_primary_itself(own: Settings, pool: Pool) -> None:
    """Nor is a standby that was promoted, which would diverge."""
    replica = Replica(replace(own, database_replica_url=own.database_url, database_replica_milliseconds=50))
    await replica.look(pool)
    assert await replica.instead_of(pool) is pool
    replica.close()


def test_it_is_one_server(own: Settings) -> None:
    for url in ("postgresql://ddr@a,b/x", "nonsense"):
        with pytest.raises(StoreError, match="database_replica_url: must"):
            Replica(replace(own, database_replica_url=url))


async def test_commands_read_there(pair: Pair, own: Settings, ddr: Recorder, patient: Patient, tmp_path: Path) -> None:
    settings = process.settings_for(
        own.state_dir, embedded=False, database_url=own.database_url,
        database_replica_url=own.database_replica_url, database_replica_milliseconds=PATIENCE_MS,
    )  # fmt: skip
    reads = {
        ("audit", "verify"): "audit",
        ("audit", "export"): "audit",
        ("logs", "export"): "request_log_seal",
        ("logs", "verify"): "request_log_seal",
        ("patient", "export", patient.username, "--to", str(tmp_path / "copy")): "measurement",
    }
    await (await ddr.diga()).http.get("metadata")
    await sealing.seal(ddr.core.pool, ddr.core.signer, own, now_ms())  # a day of the request log can be read there
    for command, tables in reads.items():
        before = await pair.scans(pair.standby, tables)
        done = await asyncio.to_thread(process.ddr, *command, settings=settings)
        assert done.returncode == 0, done.stderr
        assert await pair.scans(pair.standby, tables) > before, command


@pytest.fixture
async def agreed(ddr: Recorder) -> Core:
    """A recorder with people who agreed to research, by this machine's time, which the command uses."""
    core = replace(ddr.core, clock=now_ms)
    people = [await volunteer(core, seed, 1) for seed in range(LEAST + 1)]
    await withdraw(core.pool, people.pop().patient_id, "consent-withdrawn", now_ms())
    return core


async def test_research_reads_there_and_asks_who_agrees_at_the_primary(
    pair: Pair, own: Settings, pool: Pool, agreed: Core, tmp_path: Path
) -> None:
    terms = Terms(approved(1), LEAST, BERLIN)
    mivs = [miv for miv in agreed.catalog.mivs if miv.name in terms.approval.kinds]
    async with reading(own, pool) as standby:
        assert standby is not pool
        async with counted(pool) as on_primary, counted(standby) as on_standby:
            export = await prepare(pool, standby, mivs, terms, moment(agreed))
    assert (export.agreed, len(export.weeks)) == (LEAST, LEAST)
    assert {"FROM chunk" in query for query in on_standby} == {True}
    assert not any("FROM chunk" in query for query in on_primary)
    assert any("FROM research_consent" in query for query in on_primary)
    await pair.ask(pair.standby, "SELECT pg_wal_replay_pause()")  # a reading that was taken back would still be in it
    try:
        await agreed.pool.execute("UPDATE patient SET created_ms = created_ms")
        async with reading(replace(own, database_replica_milliseconds=50), pool) as instead:
            assert instead is pool
    finally:
        await pair.ask(pair.standby, "SELECT pg_wal_replay_resume()")
    settings = process.settings_for(
        own.state_dir, embedded=False, database_url=own.database_url, database_replica_url=own.database_replica_url,
        database_replica_milliseconds=PATIENCE_MS, research=True, research_least=LEAST,
    )  # fmt: skip
    approval, out = tmp_path / "approval.toml", tmp_path / "out"
    approval.write_text(
        'title = "t"\nreference = "EK 114"\nrecipient = "r"\nuntil = 2099-12-31\n'
        f'kinds = ["{CGM}"]\nweeks = 1\n'
    )  # fmt: skip
    command = ("research", "export", "--approval", str(approval), "--out", str(out), "--by", "Team Daten", "--yes")
    before = await pair.scans(pair.standby, "chunk")
    done = await asyncio.to_thread(process.ddr, *command, settings=settings)
    assert done.returncode == 0, done.stderr
    assert await pair.scans(pair.standby, "chunk") > before
    assert len((out / "values.csv").read_text().splitlines()) == 1 + LEAST * 336
    given = (
        "SELECT count(*) FROM research_given g JOIN research_export e USING (export_id) WHERE e.reference = 'EK 114'"
    )
    assert await pair.ask(pair.primary, given) == LEAST


async def test_the_recorder_connects_to_it(own: Settings) -> None:
    settings = process.settings_for(
        own.state_dir, embedded=False, database_url=own.database_url, database_replica_url=own.database_replica_url
    )
    running = await asyncio.to_thread(process.Recorder, settings)
    try:
        figures = await asyncio.to_thread(running.figures)
        assert figures['ddr_replica_reads_total{worker="1"}'] == 0
        assert "database.replica_in_use" in {event["event"] for event in running.events()}
    finally:
        await asyncio.to_thread(running.stop)
