"""Server-wide secrets and the pool's codec."""

from __future__ import annotations

import asyncio

import asyncpg

from ddr.store.database.secrets import NAMES, load_secrets


async def test_all_workers_get_the_same_secrets(pool: asyncpg.Pool) -> None:
    first, *others = await asyncio.gather(*(load_secrets(pool) for _ in range(5)))
    assert set(first) == set(NAMES)
    assert all(other == first for other in others)
    assert len({*first.values()}) == len(NAMES)
    assert {len(value) for value in first.values()} == {32}


async def test_jsonb_comes_and_goes_as_python_values(pool: asyncpg.Pool) -> None:
    value = {"a": [1, 2.5, None, "ü"]}
    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    assert await pool.fetchval("SELECT $1::jsonb->>'a'", {"a": 1}) == "1"
    assert await pool.fetchval("SELECT NULL::jsonb") is None
