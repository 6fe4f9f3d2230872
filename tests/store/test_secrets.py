"""Server-wide secrets and the pool's codec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ddr.settings import SettingsError
from ddr.store.database.pool import connect
from ddr.store.database.sealing import KeyRing
from ddr.store.database.secrets import NAMES, load_secrets
from tests.support.database import migrated_database

KEYS, OTHER = KeyRing(b"k" * 32), KeyRing(b"x" * 32)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database of its own, where nothing is sealed yet."""
    async with migrated_database(database_url) as url, await connect(url, 5) as pool:
        yield pool


async def test_all_workers_get_the_same_secrets(pool: asyncpg.Pool) -> None:
    first, *others = await asyncio.gather(*(load_secrets(pool, KEYS) for _ in range(5)))
    assert set(first) == set(NAMES)
    assert all(other == first for other in others)
    assert len({*first.values()}) == len(NAMES)
    assert {len(value) for value in first.values()} == {32}


async def test_none_is_readable_in_the_database(pool: asyncpg.Pool) -> None:
    known = await load_secrets(pool, KEYS)
    everything = str(await pool.fetch("SELECT secret::text FROM secret"))
    assert not [name for name, value in known.items() if value.hex() in everything]
    with pytest.raises(SettingsError, match="does not open"):
        await load_secrets(pool, OTHER)
    assert await load_secrets(pool, KeyRing(OTHER.current, (KEYS.current,))) == known


async def test_a_missing_one_is_not_made_under_a_former_key(pool: asyncpg.Pool) -> None:
    """A host that slept at its start while everything was sealed anew; nobody without the former key could start."""
    await load_secrets(pool, KEYS)
    await pool.execute("DELETE FROM secret WHERE name = 'login-journeys'")  # as an earlier version left it
    with pytest.raises(SettingsError, match="does not open"):
        await load_secrets(pool, OTHER)
    assert set(await load_secrets(pool, KEYS)) == set(NAMES)


async def test_those_of_an_earlier_version_are_sealed_by_a_start_and_stay_the_same(pool: asyncpg.Pool) -> None:
    before = {name: bytes([at]) * 32 for at, name in enumerate(NAMES)}
    rows = list(before.items())
    await pool.executemany("INSERT INTO secret (name, value, created_ms) VALUES ($1, $2, 1)", rows)
    for known in await asyncio.gather(*(load_secrets(pool, KEYS) for _ in range(3))):
        assert known == before
    assert await pool.fetchval("SELECT count(*) FROM secret WHERE value IS NOT NULL OR sealed IS NULL") == 0


async def test_one_is_no_other(pool: asyncpg.Pool) -> None:
    """Who can write to the database cannot exchange two of them."""
    await load_secrets(pool, KEYS)
    await pool.execute(
        "UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE name = 'page-links') WHERE name = 'pairing-ids'"
    )
    with pytest.raises(SettingsError, match="does not open"):
        await load_secrets(pool, KEYS)


async def test_jsonb_comes_and_goes_as_python_values(pool: asyncpg.Pool) -> None:
    value = {"a": [1, 2.5, None, "ü"]}
    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    assert await pool.fetchval("SELECT $1::jsonb->>'a'", {"a": 1}) == "1"
    assert await pool.fetchval("SELECT NULL::jsonb") is None
