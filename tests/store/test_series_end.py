"""What ends the wait for readings, on a real database."""

from __future__ import annotations

import asyncpg
import pytest

from ddr.series.packing import Reading
from ddr.store.series.end import ReadingsAfterEnd, close_epochs, complete_until
from tests.store.continuous import DELAY, HOUR, MINUTE, START, Stored, register

SECOND = 1000


async def sensor_with(pool: asyncpg.Pool, *readings: Reading, now_ms: int) -> Stored:
    stored = await register(pool, span_ms=HOUR)
    await stored.merge(list(readings), now_ms)
    return stored


async def sent(stored: Stored, until_ms: int, now_ms: int) -> int | None:
    return await complete_until(stored.pool, await stored.sensor(), until_ms, DELAY, now_ms)


async def close(stored: Stored, ended_ms: int, now_ms: int) -> None:
    async with stored.pool.acquire() as conn, conn.transaction():
        await close_epochs(conn, stored.patient_id, stored.sensor_no, ended_ms, now_ms, DELAY)


async def states(stored: Stored) -> list[tuple[str, int]]:
    return [(chunk.status, chunk.version) for chunk in await stored.chunks()]


async def test_chunks_that_were_sent_completely_are_final(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), (START + HOUR, 2), now_ms=START)
    assert await sent(stored, START + HOUR - SECOND, START + HOUR) == START + HOUR - SECOND
    assert await states(stored) == [("f", 2), ("p", 1)]
    assert await sent(stored, START, START + HOUR) == START + HOUR - SECOND
    assert await states(stored) == [("f", 2), ("p", 1)]


async def test_spans_without_any_reading_are_final_too(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), now_ms=START)
    await sent(stored, START + 3 * HOUR, START + 3 * HOUR)
    assert await states(stored) == [("f", 2), ("f", 2), ("f", 2)]
    await stored.merge([(START + 2 * HOUR, 5)], START + 3 * HOUR)
    assert await states(stored) == [("f", 2), ("f", 2), ("a", 3)]


async def test_a_sensor_without_any_reading_can_be_complete(pool: asyncpg.Pool) -> None:
    stored = await register(pool, span_ms=HOUR)
    await sent(stored, START + 2 * HOUR, START + 2 * HOUR)
    assert await states(stored) == [("f", 2), ("f", 2)]


async def test_what_is_final_by_time_stays_as_it_is(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), now_ms=START)
    await sent(stored, START + HOUR, START + 48 * HOUR)
    assert await states(stored) == [("p", 1)]


async def test_the_end_of_a_sensor_cuts_its_chunk(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), (START + 70 * MINUTE, 2), now_ms=START)
    await close(stored, START + 80 * MINUTE, START + 2 * HOUR)
    assert await states(stored) == [("p", 1), ("f", 2)]
    outcome = await stored.merge([(START + 75 * MINUTE, 3), (START + 80 * MINUTE, 4)], START + 2 * HOUR)
    assert outcome.accepted == {(START + 75 * MINUTE, 3)}
    assert outcome.late == {(START + 80 * MINUTE, 4)}
    assert await states(stored) == [("p", 1), ("a", 3)]


async def test_the_end_finishes_what_is_missing_before_it(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), now_ms=START)
    await close(stored, START + 150 * MINUTE, START + 3 * HOUR)
    assert await states(stored) == [("p", 1), ("p", 1), ("f", 2)]
    await close(stored, START + 160 * MINUTE, START + 3 * HOUR)  # an earlier end stays
    assert await states(stored) == [("p", 1), ("p", 1), ("f", 2)]


async def test_an_end_in_the_last_half_period_still_cuts_the_chunk(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), (START + HOUR, 2), (START + 2 * HOUR - 10 * MINUTE, 3), now_ms=START)
    await close(stored, START + 2 * HOUR - MINUTE, START + 2 * HOUR)
    assert await states(stored) == [("p", 1), ("f", 2)]


async def test_empty_chunks_after_the_end_are_withdrawn(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), now_ms=START)
    await sent(stored, START + 3 * HOUR, START + 3 * HOUR)
    await close(stored, START + 50 * MINUTE, START + 3 * HOUR)
    assert await states(stored) == [("a", 3), ("e", 3), ("e", 3)]
    epoch = await pool.fetchrow("SELECT tail_k, until_ms FROM epoch WHERE epoch_no = $1", stored.epoch_no)
    assert (epoch["tail_k"], epoch["until_ms"]) == (0, START + 50 * MINUTE)


async def test_a_sensor_that_was_never_in_use_leaves_only_what_was_shown(pool: asyncpg.Pool) -> None:
    stored = await register(pool, span_ms=HOUR)
    await close(stored, START, START + 2 * HOUR)
    assert await states(stored) == [("e", 2), ("e", 2)]


async def test_an_end_before_the_last_reading_is_refused(pool: asyncpg.Pool) -> None:
    stored = await sensor_with(pool, (START, 1), (START + 70 * MINUTE, 2), now_ms=START)
    with pytest.raises(ReadingsAfterEnd):
        await close(stored, START + 70 * MINUTE, START + 2 * HOUR)
    assert await pool.fetchval("SELECT until_ms FROM epoch WHERE epoch_no = $1", stored.epoch_no) is None
