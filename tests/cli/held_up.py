"""A database of its own for commands, and commands stopped in the middle of their work."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ddr.http.clock import now_ms
from ddr.store.database.pool import Pool, connect
from ddr.store.patients.accounts import create_patient
from tests.cli.recorder import COMMAND_SECONDS, command, ddr, environment
from tests.support.database import migrated_database
from tests.support.waiting import waiting

ACCOUNT = "Gerda Geheim"


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[Pool]:
    """A database of its own with one patient."""
    async with migrated_database(database_url) as url, await connect(url, 3) as pool:
        await create_patient(pool, ACCOUNT, "correct horse battery", now_ms())
        yield pool


@pytest.fixture
def own_settings(own: Pool, tmp_path: Path) -> dict[str, Any]:
    return {"database_url": own.servers.url, "allow_builtin_accounts": True, "state_dir": tmp_path / "state"}


async def run(*arguments: str, settings: dict[str, Any]) -> tuple[int, str, str]:
    """Exit status, output, and what is said beside the log."""
    done = await asyncio.to_thread(ddr, *arguments, settings=settings)
    return done.returncode, done.stdout, beside(done.stderr)


def beside(error: str) -> str:
    """What is said beside the log."""
    return "".join(line for line in error.splitlines(keepends=True) if not line.startswith("{"))


@asynccontextmanager
async def held_up(own: Pool, table: str, *arguments: str, settings: dict[str, Any]) -> AsyncIterator[Process]:
    """A command in the middle of its work: it waits for a lock on `table` during the block."""
    async with own.acquire() as conn:
        held = conn.transaction()
        await held.start()
        await conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        process = await asyncio.create_subprocess_exec(
            *command(*arguments), env=environment(settings), stdout=PIPE, stderr=PIPE
        )
        try:
            while not await waiting(own):
                assert process.returncode is None, await process.communicate()
                await asyncio.sleep(0.05)
            yield process
        finally:
            await held.rollback()
            if process.returncode is None:
                process.kill()
            await process.wait()


async def ended(process: Process) -> tuple[int | None, str, str]:
    out, error = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    return process.returncode, out.decode(), beside(error.decode())


def export(folder: Path) -> tuple[str, ...]:
    return "patient", "export", ACCOUNT, "--to", str(folder)
