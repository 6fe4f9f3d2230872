"""A session keeps the most recently used statements, and never so many that the database runs out of memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ddr.settings import Settings
from ddr.store.database.pool import Pool, open_pool
from ddr.store.database.prepared import LONGEST_CACHED, MOST_CHARACTERS
from tests.support.pooler import direct_only

KEPT = "SELECT count(*) AS count, sum(length(statement)) AS characters FROM pg_prepared_statements"
IS_KEPT = "SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE statement = $1)"


@pytest.fixture
async def one(settings: Settings) -> AsyncIterator[Pool]:
    """A pool of one connection."""
    async with await open_pool(settings, size=1) as pool:
        yield pool


def _statement(number: int, length: int) -> str:
    return f"SELECT {number} -- ".ljust(length, "x")


@direct_only
async def test_long_statements_are_bounded_by_their_length(one: Pool) -> None:
    length, often = LONGEST_CACHED // 2, _statement(0, LONGEST_CACHED // 2)
    for number in range(1, 2 * MOST_CHARACTERS // length):
        assert await one.fetchval(_statement(number, length)) == number
        assert await one.fetchval(often) == 0
    kept = await one.fetchrow(KEPT)
    assert MOST_CHARACTERS - 2 * length < kept["characters"] <= MOST_CHARACTERS + length  # the question itself
    assert await one.fetchval(IS_KEPT, often), "it was used last"
    assert not await one.fetchval(IS_KEPT, _statement(1, length))


@direct_only
async def test_short_statements_are_bounded_by_their_number(one: Pool, settings: Settings) -> None:
    for number in range(settings.database_statement_cache + 20):
        assert await one.fetchval(_statement(number, 100)) == number
    assert await one.fetchval(IS_KEPT, _statement(number, 100))
    assert abs((await one.fetchrow(KEPT))["count"] - settings.database_statement_cache) <= 2
