"""The clock of commands: the database's, whatever the clock of the host where they are typed."""

from __future__ import annotations

import ast
import asyncio
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.demo.certs import client_certificate
from ddr.fhir.instants import date_time
from ddr.registries.certificates import fingerprint
from ddr.store.audit import journal
from ddr.store.database.pool import connect
from ddr.store.database.stamps import CLOCK
from tests.support.database import migrated_database

COMMANDS = Path(__file__).parents[2] / "ddr" / "cli"
DAY_MS, YEAR_MS = 86_400_000, 365 * 86_400_000
BEHIND_MS = 30 * YEAR_MS  # the host's clock
# Who may ask the host: there is no database, or none yet.
HOSTS_CLOCK = {"checks/tls.py", "conform.py", "demo.py", "dossier.py", "serve.py"}
ASKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


@pytest.fixture
async def own(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    """A database of its own for commands, on a host whose clock is thirty years behind."""
    async with migrated_database(database_url) as url:
        monkeypatch.setenv("DDR_DATABASE_URL", url)
        monkeypatch.setenv("DDR_STATE_DIR", str(tmp_path))
        monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
        host_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: host_ns() - BEHIND_MS * 1_000_000)
        async with await connect(url, 1) as pool:
            yield pool


async def instants(pool: asyncpg.Pool) -> dict[str, list[int]]:
    """All there are in the database by table and column; spans and zeros are none."""
    columns = await pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND data_type = 'bigint' AND right(column_name, 3) = '_ms'"
    )
    found = {}
    for table, column in columns:
        rows = await pool.fetch(f'SELECT "{column}" FROM "{table}" WHERE "{column}" > $1', 10 * YEAR_MS)
        found[f"{table}.{column}"] = [row[0] for row in rows]
    return found


async def test_what_commands_write_down_bears_the_time_of_the_database(
    own: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: int = await own.fetchval(f"SELECT {CLOCK}")
    bridge = client_certificate(tmp_path, "bridge")
    public = "--cause x --impact y --contact ops@example.org"
    for line in (
        "patient add --username anna --password-stdin",
        "patient add --username berta --password-stdin",
        "gateway token add berta --name phone --days 7",
        f"gateway add-certificate {bridge.cert} --name bridge",
        f"credentials assign bridge {fingerprint(bridge.der)} --owner us --purpose data",
        f"maintenance start --until {date_time(begun + DAY_MS)} --urgent --reason z {public}",
        f"notice report --state demoted --functions token {public}",
        "keys rotate",
        "patient proxy add anna berta --relation carer --name B",
        "patient proxy end anna berta",
        f"patient export berta --to {tmp_path / 'copy'}",
        "gateway token revoke berta --all",
        "gateway revoke-certificate bridge",
        "patient disable berta --yes",
        "restore begin --window 72",
        "patient erase anna --yes",
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
        status = await asyncio.get_running_loop().run_in_executor(None, main, line.split())
        assert status == 0, line
    found = await instants(own)
    found["journal"] = [entry["at_ms"] for entry in journal.entries(tmp_path / "journal")]
    assert {name: told for name, told in found.items() if any(at_ms < begun - YEAR_MS for at_ms in told)} == {}
    for name in (
        "account.created_ms",
        "audit.at_ms",
        "outage_notice.announced_ms",
        "signing_key.signs_from_ms",
        "journal",
    ):
        assert [at_ms for at_ms in found[name] if begun - 1_000 < at_ms < begun + DAY_MS], name


def test_no_command_that_has_a_database_asks_its_host_for_the_time() -> None:
    asking = set()
    for file in COMMANDS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            of_host = isinstance(node, ast.ImportFrom) and node.module == "ddr.http.clock"
            if of_host or (isinstance(node, ast.Attribute) and ast.unparse(node) in ASKS):
                asking.add(file.relative_to(COMMANDS).as_posix())
    assert asking == HOSTS_CLOCK
