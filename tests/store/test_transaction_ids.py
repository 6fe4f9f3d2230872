"""A database out of transaction ids because nothing was vacuumed: it can be read, but not written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.settings import Settings
from ddr.store.database.faults import FAULTS, READ_ONLY, fault_of
from ddr.store.database.pool import open_pool
from tests.support.postgres import Server, own_server

LAST = 2**31 - 1_000_000  # within the last three million before the oldest one, which PostgreSQL keeps for a vacuum
IN_A_FILE = 2**20  # transactions


def use_up(server: Server) -> None:
    """As after two thousand million transactions."""
    server.stop()
    server._run("pg_resetwal", "-x", LAST, "-D", server.data)
    (server.data / "pg_xact" / f"{LAST // IN_A_FILE:04X}").write_bytes(bytes(IN_A_FILE // 4))
    server.account.own_all(server.data)
    server.start()


async def test_a_database_without_transaction_ids_is_a_fault_of_the_world(settings: Settings, tmp_path: Path) -> None:
    with own_server(tmp_path) as server:
        own = replace(settings, database_url=server.url, state_dir=tmp_path)
        async with await open_pool(own) as pool:
            await pool.execute("CREATE TABLE named (name text PRIMARY KEY)")
            with pytest.raises(asyncpg.ProgramLimitExceededError) as ours:
                await pool.execute(
                    "INSERT INTO named SELECT string_agg(md5(g::text), '') FROM generate_series(1, 999) g"
                )
            assert fault_of(ours.value) is None
        use_up(server)
        async with await open_pool(own) as pool:
            assert await pool.fetch("SELECT name FROM named") == []
            with pytest.raises(FAULTS) as found:
                await pool.execute("INSERT INTO named VALUES ('a')")
            assert fault_of(found.value) == READ_ONLY
            assert not await pool.ready()


def test_another_server_of_spread_patients_is_heard_by_way_of_the_coordinator() -> None:
    """Citus says in a function of its own, with the other server's code and words, what that one refused."""
    said = {"S": "ERROR", "C": "54000", "M": "die Datenbank nimmt keine Befehle an", "R": "ReportResultError"}
    assert fault_of(asyncpg.PostgresError.new(said)) == READ_ONLY
    assert fault_of(asyncpg.PostgresError.new({**said, "C": "23505"})) is None
