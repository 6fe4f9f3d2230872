"""`ddr keys rotate`."""

from __future__ import annotations

import asyncio
import base64

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.http.clock import now_ms
from ddr.store.authorization.keys import load

KEY, OTHER_KEY = (base64.b64encode(letter * 32).decode() for letter in (b"k", b"x"))


async def run(*arguments: str) -> int:
    return await asyncio.get_running_loop().run_in_executor(None, main, arguments)


async def test_publishes_a_key_that_signs_later(
    pool: asyncpg.Pool, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDR_DATABASE_URL", database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.setenv("DDR_KEY_ENCRYPTION_KEY", KEY)
    await pool.execute("TRUNCATE signing_key")
    assert await run("keys", "rotate") == 0
    old, new = await load(pool, now_ms())
    assert old.signs_from_ms < now_ms() < new.signs_from_ms
    assert capsys.readouterr().out == f"{new.kid} signs in 5 minutes\n"
    monkeypatch.setenv("DDR_KEY_ENCRYPTION_KEY", OTHER_KEY)
    assert await run("keys", "rotate") == 1
    assert "key_encryption_key" in capsys.readouterr().err
    await pool.execute("TRUNCATE signing_key")
