"""docs/backup.md, carried out: dump and restore, base backup with archived WAL and recovery to an instant, each on real
servers, with the commands on the page; the recorder then serves from the second server.

PostgreSQL's programs are those of the embedded server's installation. Where one is missing the tests fail.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddr.http.clock import now_ms
from ddr.operations.audit_trail import seal
from ddr.store.audit.trail import Event, record
from ddr.store.database.pool import connect
from tests.cli.recorder import COMMAND_SECONDS, START_SECONDS, Recorder, command, ddr, environment, settings_for
from tests.support.postgres import Server, own_server
from tests.support.reached import fetchval

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
pytestmark = pytest.mark.packaging
METER = {"serialNumber": "S-1", "name": "Meter", "manufacturer": "M", "type": "337414009"}


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Server]:
    """The database that will be lost."""
    with own_server(tmp_path / "primary") as server:
        yield server


def commands(heading: str) -> str:
    """The commands of docs/backup.md below this heading."""
    found = re.search(rf"^### {re.escape(heading)}$.*?^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert found, f"docs/backup.md has no commands for {heading}"
    return found[1]


def carry_out(heading: str, server: Server, **variables: str | Path) -> None:
    """Run them as the database's account, on its machine."""
    path = f"{server.installation.bin}:/usr/bin:/bin"
    given = {"PATH": path, "PGHOST": server.run_dir, "PGUSER": "ddr", "PGDATABASE": "postgres", **variables}
    words = [f"{name}={value}" for name, value in given.items()]
    done = server.account.run(["/usr/bin/env", *words, "/bin/sh", "-euc", commands(heading)], cwd=server.home)
    assert done.returncode == 0, done.stdout


class Life:
    """A patient whose app sends measurements to the recorder of these settings; `checkout`: where its code is."""

    def __init__(self, settings: dict[str, Any], checkout: Path | None = None) -> None:
        self.settings, self.checkout, self.token = settings, checkout, ""

    def register(self) -> None:
        added = subprocess.run(
            command("patient", "add", "--username", "berta", "--password-stdin"), cwd=self.checkout,
            env=environment(self.settings), input="correct horse battery\n", capture_output=True, text=True,
            timeout=COMMAND_SECONDS,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        self.token = added.stdout.strip()
        assert self.ask("PUT", "devices/meter", {**METER, "startedAt": "2026-11-01T00:00:00Z"}).status_code == 201

    def measure(self, key: str) -> None:
        assert self.put(key).status_code == 201

    def has(self, key: str) -> bool:
        """True when the recorder says that it knows the measurement already."""
        return self.put(key).status_code == 200

    def put(self, key: str) -> httpx.Response:
        value = {
            "code": "2339-0",
            "device": "meter",
            "effective": "2026-11-20T10:00:00Z",
            "value": 120,
            "unit": "mg/dL",
        }
        return self.ask("PUT", f"measurements/{key}", value)

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        url = f"https://localhost:{self.settings['gateway_port']}/gateway/v1/{path}"
        headers = {"authorization": f"Bearer {self.token}"}
        with httpx.Client(verify=False, trust_env=False, headers=headers, timeout=30) as client:
            return client.request(method, url, json=body)


async def sealed(url: str) -> str:
    """Close the audit trail up to now, as a minute of serving does; the head of the chain."""
    async with await connect(url, 2) as pool:
        await record(pool, Event.SIGNING_KEY_ROTATED, now_ms())
        await seal(pool, now_ms())
        no, chain = await pool.fetchrow("SELECT seal_no, chain FROM audit_seal ORDER BY seal_no DESC LIMIT 1")
    return f"{no}:{chain.hex()}"


def served(life: Life, url: str, head: str) -> None:
    """The recorder runs on this database, and its trail is whole."""
    life.settings = {**life.settings, "database_url": url}
    verified = ddr("audit", "verify", "--head", head, settings=life.settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    begun = ddr(
        "restore", "begin", "--window", "72", "--journal", str(life.settings["journal_dir"]), settings=life.settings
    )
    assert begun.returncode == 0, begun.stdout + begun.stderr
    recorder = Recorder(life.settings)
    try:
        assert recorder.admin("/readyz").status_code == 200
        assert life.has("before")
        life.measure("since-the-restore")
    finally:
        recorder.stop()


@pytest.fixture
def life(primary: Server, tmp_path: Path) -> Life:
    state = tmp_path / "state"
    state.mkdir()
    return Life(settings_for(state, embedded=False, database_url=primary.url, journal_dir=state / "journal"))


async def test_a_dump_is_restored_into_another_server(primary: Server, life: Life, tmp_path: Path) -> None:
    dump = primary.home / "ddr.dump"
    recorder = Recorder(life.settings)
    try:
        await asyncio.to_thread(life.register)
        await asyncio.to_thread(life.measure, "before")
        head = await sealed(primary.url)
        carry_out("Dump", primary, DUMP=dump)
        await asyncio.to_thread(life.measure, "after")
    finally:
        recorder.stop()
    secrets = await fetchval(primary.url, "SELECT string_agg(secret::text, '' ORDER BY name) FROM secret")
    with own_server(tmp_path / "second") as second:
        second.account.run(["/bin/cp", str(dump), str(second.home / "ddr.dump")])
        carry_out("Restore of a dump", second, DUMP=dump)
        assert await fetchval(second.url, "SELECT string_agg(secret::text, '' ORDER BY name) FROM secret") == secrets
        await asyncio.to_thread(served, life, second.url, head)
        assert await fetchval(second.url, "SELECT count(*) FROM measurement") == 2, "the one after the dump is lost"


async def test_recovery_to_the_instant_before_a_mistake(primary: Server, life: Life, tmp_path: Path) -> None:
    archive, backup = primary.home / "archive", primary.home / "backup"
    primary.account.run(["/bin/mkdir", str(archive)])
    carry_out("Archive", primary, ARCHIVE=archive)
    primary.stop()
    primary.start()
    recorder = Recorder(life.settings)
    try:
        await asyncio.to_thread(life.register)
        await asyncio.to_thread(life.measure, "before")
        carry_out("Base backup", primary, BACKUP=backup)
        await asyncio.to_thread(life.measure, "after-the-backup")
        head = await sealed(primary.url)
        instant = await fetchval(primary.url, "SELECT clock_timestamp()::text")
    finally:
        recorder.stop()
    await fetchval(primary.url, "DELETE FROM measurement")
    await fetchval(primary.url, "SELECT pg_switch_wal()")
    deadline = time.monotonic() + START_SECONDS
    lag = "SELECT last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1) FROM pg_stat_archiver"
    while not await fetchval(primary.url, lag):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    primary.kill()  # this machine is lost
    second = Server(tmp_path / "second")
    try:
        carry_out("Recovery", second, ARCHIVE=archive, BACKUP=backup, TARGET=second.data, INSTANT=instant)
        second.start()
        while await fetchval(second.url, "SELECT pg_is_in_recovery()"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert await fetchval(second.url, "SELECT count(*) FROM measurement") == 2
        await asyncio.to_thread(served, life, second.url, head)
    finally:
        second.dispose()
