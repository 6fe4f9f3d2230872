"""Commands on an unavailable or read-only database, or without a journal: one line, without anybody's data."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ddr.store.database.faults import reason_of
from ddr.store.database.pool import Pool
from tests.cli.held_up import ACCOUNT, ended, export, held_up, own, own_settings, run
from tests.cli.recorder import ddr

__all__ = ["own", "own_settings"]


async def test_a_database_that_goes_away_in_the_middle(own: Pool, own_settings: dict[str, Any], tmp_path: Path) -> None:
    async with held_up(own, "chunk", *export(tmp_path / "copy"), settings=own_settings) as process:
        cut = await own.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        assert cut == 1
        status, out, error = await ended(process)
    assert (status, out, error.count("\n")) == (1, "", 1) and error.startswith("ddr: database: ")
    assert list((tmp_path / "copy").iterdir()) == []


WRITING = (
    ("gateway", "token", "add", ACCOUNT),
    ("gateway", "token", "revoke", ACCOUNT, "--all"),
    ("keys", "rotate"),
    ("notice", "report", "--state", "demoted", "--functions", "token", "--cause", "Geheimnis"),
    ("patient", "disable", ACCOUNT, "--yes"),
    ("patient", "delete", ACCOUNT, "--yes"),
    ("registry", "refresh"),
)


@pytest.mark.parametrize("arguments", WRITING)
async def test_a_database_that_takes_no_writes(
    own: Pool, own_settings: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    """A standby, or a primary that an administrator has closed."""
    name = await own.fetchval("SELECT current_database()")
    await own.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    status, out, error = await run(*arguments, settings=own_settings)
    assert (status, out, error.count("\n")) == (1, "", 1), error
    assert "read-only transaction" in error and "Geheim" not in error


async def test_a_migration_that_fails_quotes_no_row(own: Pool) -> None:
    await own.execute("CREATE TABLE named (name text PRIMARY KEY)")
    insert = "INSERT INTO named VALUES ('Gerda Geheim'), ('Gerda Geheim')"
    with pytest.raises(asyncpg.UniqueViolationError) as found:
        await own.execute(insert)
    assert "Geheim" in str(found.value)
    assert reason_of(found.value) == 'duplicate key value violates unique constraint "named_pkey"'


async def test_an_end_that_the_journal_does_not_take(own: Pool, own_settings: dict[str, Any], tmp_path: Path) -> None:
    """It holds, for a patient's withdrawal must not wait for a disk; but it is not all that was asked for."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "journal"
    disabling = ("patient", "disable", ACCOUNT, "--yes")
    done = await asyncio.to_thread(ddr, *disabling, settings={**own_settings, "journal_dir": folder})
    assert done.returncode == 1 and done.stdout.startswith("disabled: ")
    *logged, line = done.stderr.splitlines()
    assert {json.loads(one)["event"] for one in logged} == {"journal.not_written"}, "as in the log of the recorder"
    assert line == (
        f"ddr: the change was made, but could not be written to the journal of ends {folder}: Not a directory;"
        " a restore would undo it"
    )
    assert await own.fetchval("SELECT disabled_ms FROM patient") is not None


async def test_a_database_on_which_no_recorder_has_started(own: Pool, own_settings: dict[str, Any]) -> None:
    status, out, error = await run("logs", "policy", settings=own_settings)
    assert (status, out, error.count("\n")) == (1, "", 1) and error.startswith("ddr: no recorder has started on this")


async def test_a_connection_that_is_lost_within_a_transaction_is_said_so(own: Pool) -> None:
    """The driver told which of its methods cannot be called any more."""
    async with own.acquire() as conn:
        with pytest.raises(asyncpg.InterfaceError) as lost:
            async with conn.transaction():
                conn.terminate()
    assert reason_of(lost.value) == "the connection was lost"
