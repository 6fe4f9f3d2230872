"""The bounds of a search exclude nothing visible: numbers of chunks by time, and chunks after their epoch."""

from __future__ import annotations

import random

import asyncpg
import pytest

from ddr.series.chain import cut
from ddr.series.grid import Grid
from ddr.series.packing import Reading
from ddr.store.series.bounds import first_k
from tests.store.continuous import START

MINUTE = 60_000


def series(chance: random.Random) -> tuple[Grid, list[tuple[int, int]]]:
    """A grid, and number and start of each chunk of a sensor whose clock drifts and that pauses now and then."""
    period_ms = chance.choice([3000, 5000, MINUTE, 5 * MINUTE, 15 * MINUTE])
    grid = Grid(START + chance.randrange(5000), period_ms, period_ms * chance.choice([1, 2, 12, 96]))
    readings: list[Reading] = []
    at_ms = grid.from_ms
    drift = chance.choice([-0.49, -0.1, 0, 0.1, 0.49])
    for _ in range(chance.randrange(20, 200)):
        readings.append((at_ms, 1))
        at_ms += int(period_ms * (1 + drift)) + chance.choice([0, 0, 0, chance.randrange(3 * grid.span_ms)])
    return grid, [(part.k, part.start_ms) for part in cut(readings, grid)]


@pytest.mark.parametrize("seed", range(40))
async def test_the_first_number_leaves_out_no_chunk_of_the_period(pool: asyncpg.Pool, seed: int) -> None:
    grid, chunks = series(random.Random(seed))
    tail_k, tail_start_ms = chunks[-1]
    floors = [start_ms + step for _, start_ms in chunks for step in (-1, 0, 1, grid.span_ms - 1, grid.span_ms)]
    rows = await pool.fetch(
        f"""SELECT floor_ms, {first_k("e", "floor_ms")} AS first_k
              FROM unnest($1::bigint[]) AS floor_ms, (VALUES ($2::integer, $3::bigint)) AS e(tail_k, tail_start_ms),
                   (VALUES ($4::bigint, $5::integer)) AS s(span_ms, period_ms)""",
        floors, tail_k, tail_start_ms, grid.span_ms, grid.period_ms,
    )  # fmt: skip
    for row in rows:
        seen = [k for k, start_ms in chunks if start_ms + grid.span_ms > row["floor_ms"]]
        assert row["first_k"] <= min(seen, default=tail_k)


async def test_of_a_year_in_one_epoch_little_more_than_the_period_is_looked_at(pool: asyncpg.Pool) -> None:
    day = 86_400_000
    found = await pool.fetchval(
        f"""SELECT {first_k("e", "$1::bigint")}
              FROM (VALUES (365, $2::bigint)) AS e(tail_k, tail_start_ms),
                   (VALUES ($3::bigint, 300000)) AS s(span_ms, period_ms)""",
        START + 335 * day, START + 365 * day, day,
    )  # fmt: skip
    assert 330 <= found <= 334
