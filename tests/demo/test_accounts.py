"""Accounts of the demonstration survive a run, and stay usable."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from ddr.demo.accounts import accounts
from ddr.http.clock import now_ms
from ddr.store.database.digest import sha256
from ddr.store.gateways import tokens


@pytest.mark.parametrize("end", ["expires_ms = 1", "revoked_ms = 1"])
async def test_an_app_whose_token_has_ended_gets_another_one(own_pool: asyncpg.Pool, tmp_path: Path, end: str) -> None:
    """The demonstration is started again after more than a year, or after its app was disconnected."""
    first = await accounts(own_pool, tmp_path, 2)
    assert await accounts(own_pool, tmp_path, 2) == first
    await own_pool.execute(f"UPDATE gateway_token SET {end}")
    again = await accounts(own_pool, tmp_path, 2)
    assert [(one.username, one.password) for one in again] == [(one.username, one.password) for one in first]
    for one in again:
        holder = await tokens.find(own_pool, sha256(one.gateway_token), now_ms())
        assert holder is not None and holder.good
    assert await accounts(own_pool, tmp_path, 2) == again
