"""A database page damaged by its disk: docs/database.md describes the way out, and losses are reported."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from ddr.operations.request_log import sealing
from ddr.operations.request_log.verifying import verify_chain
from ddr.settings import Settings
from ddr.store.audit.request_log import Batch, add
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import open_pool
from tests.support.audit import DAY_MS
from tests.support.day import today
from tests.support.postgres import own_server
from tests.support.request_log import Pen, some_lines

DOCUMENT = Path(__file__).parents[2] / "docs" / "database.md"
PAGE = 8192


async def test_the_log_is_sealed_again_and_says_which_rows_a_damaged_page_had(
    settings: Settings, tmp_path: Path
) -> None:
    statements = re.findall(r"^ +((?:SET|VACUUM|REINDEX) [^`]*?;)$", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert len(statements) == 3
    run, pen = uuid4(), Pen()
    with own_server(tmp_path / "server") as server:
        own = replace(settings, database_url=server.url, state_dir=tmp_path)
        async with await open_pool(own) as pool:
            await migrate(pool)
            for number, line in enumerate(some_lines(today(), 60)):
                await add(pool, Batch(run, number + 1, line))
            file = server.data / await pool.fetchval("SELECT pg_relation_filepath('request_log_fresh')")
            lost = await pool.fetchval("SELECT count(*) FROM request_log_fresh WHERE (ctid::text::point)[0] = 0")
            await pool.execute("CHECKPOINT")
        assert 0 < lost < 60
        server.kill()
        content = file.read_bytes()
        file.write_bytes(bytes(100) + b"\xff" * 100 + content[200:])
        server.start()
        async with await open_pool(own) as pool:
            with pytest.raises(asyncpg.DataCorruptedError):
                await sealing.seal(pool, pen, own, today() * DAY_MS)
            async with pool.acquire() as conn:
                for statement in statements:
                    await conn.execute(statement)
                await conn.execute("RESET zero_damaged_pages")
            assert await sealing.seal(pool, pen, own, today() * DAY_MS) == 1
            proof = await verify_chain(pool)
    assert proof.faults == [f"records of worker {str(run)[:8]} are missing (batch 1 to {lost})"]
    assert proof.entries == 60 - lost
