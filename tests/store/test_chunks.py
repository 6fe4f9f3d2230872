"""Uploads on a real database: the same rows whatever the order, the batches and the number of writers."""

from __future__ import annotations

import asyncio
import random
from typing import cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from ddr.series.packing import Reading
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import connect
from ddr.store.series.appending import HEARD_STEP_MS, append
from ddr.store.series.bulk import append_all, append_together
from ddr.store.series.chunks import readings_between
from ddr.store.series.merging import merge_readings
from ddr.store.series.sensors import Remembered, Sensor, SensorKey, load
from tests.series.model import drifting
from tests.store.continuous import DAY, DELAY, HOUR, MINUTE, START, Stored, register
from tests.support.citus import one_server_only
from tests.support.company import company
from tests.support.counting import counted
from tests.support.database import fresh_database

NOW = START + 15 * 24 * HOUR
TRACE = drifting(3 * 288, start_ms=START)


async def touched(pool: asyncpg.Pool, stored: Stored) -> list[asyncpg.Record]:
    """Where each row of the patient lies, and which transactions wrote or locked it last."""
    return list(
        await pool.fetch(
            """SELECT 'chunk' AS kind, k AS no, ctid, xmin, xmax FROM chunk WHERE patient_id = $1
               UNION ALL SELECT 'epoch', epoch_no, ctid, xmin, xmax FROM epoch WHERE patient_id = $1
               UNION ALL SELECT 'sensor', sensor_no, ctid, xmin, xmax FROM sensor WHERE patient_id = $1
               UNION ALL SELECT 'device', device_no, ctid, xmin, xmax FROM device WHERE patient_id = $1
               ORDER BY kind, no""",
            stored.patient_id,
        )
    )


async def test_what_the_database_says_is_over_is_not_appended_to(pool: asyncpg.Pool) -> None:
    """The clock of a worker may be behind: somebody may have been shown a final chunk already."""
    stored = await register(pool)
    await stored.merge(TRACE[:1], START)
    settles = START + DAY - 1000 + DAY
    assert await append(pool, await stored.sensor(), TRACE[1:2], START, settles) is not None
    assert await append(pool, await stored.sensor(), TRACE[2:3], START, settles + 1) is None
    await merge_readings(pool, await stored.sensor(), TRACE[2:3], START, DELAY, steered_ms=settles + 1)
    (chunk, *_) = await stored.chunks()
    assert (chunk.status, chunk.version, chunk.updated_ms) == ("a", 4, settles + 2)


async def test_the_usual_uploads_are_appended(pool: asyncpg.Pool) -> None:
    parts, whole = await register(pool), await register(pool)
    await parts.merge(TRACE[:1], START)
    for at in range(1, 200, 12):
        assert await parts.append(TRACE[at : at + 12], START + at) is not None
    await whole.merge(TRACE[:205], NOW)
    assert await parts.content() == await whole.content()
    [chunk] = await parts.chunks()
    assert (chunk.version, chunk.filled, chunk.last_ms) == (18, 205, TRACE[204][0])


async def test_a_remembered_tail_goes_on(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    await stored.merge(TRACE[:1], START)
    sensor = await stored.sensor()
    for at in range(1, 100, 3):
        after = await append(pool, sensor, TRACE[at : at + 3], START + at, START + at)
        assert after is not None
        sensor = after
    assert sensor == await stored.sensor()


async def test_an_outdated_tail_writes_nothing(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    await stored.merge(TRACE[:5], START)
    outdated = await stored.sensor()
    await stored.append(TRACE[5:7], START)
    before = await stored.chunks()
    assert await append(pool, outdated, TRACE[5:8], START, START) is None
    assert await stored.chunks() == before


@pytest.mark.parametrize("several", [False, True])
async def test_a_tail_of_what_the_database_has_lost_writes_nothing(pool: asyncpg.Pool, several: bool) -> None:
    """A standby was promoted that lacked the last seconds: versions and numbers of readings come again."""

    async def appended(sensor: Sensor, readings: list[Reading], now_ms: int) -> Sensor | None:
        if several:
            return (await append_all(pool, [(sensor, readings)], now_ms, now_ms))[0]
        return await append(pool, sensor, readings, now_ms, now_ms)

    stored = await register(pool)
    await stored.merge(TRACE[:5], START)
    (standby,) = await stored.chunks()
    lost = await appended(await stored.sensor(), TRACE[5:7], START + 1)
    assert lost is not None
    await pool.execute(
        "UPDATE chunk SET last_ms = $2, updated_ms = $3, version = $4, filled = $5, times = $6, vals = $7"
        " WHERE patient_id = $1",
        stored.patient_id, standby.last_ms, standby.updated_ms, standby.version, standby.filled, standby.times,
        standby.vals,
    )  # fmt: skip
    goes_on = await appended(await stored.sensor(), TRACE[7:9], START + 60_000)
    assert goes_on is not None and lost.tail is not None and goes_on.tail is not None
    assert (lost.tail.version, lost.tail.count) == (goes_on.tail.version, goes_on.tail.count)
    assert await appended(lost, TRACE[9:10], START + 120_000) is None
    assert await appended(goes_on, TRACE[9:10], START + 120_000) is not None
    assert await readings_between(pool, goes_on, 0, 2**53) == {*TRACE[:5], *TRACE[7:10]}


async def test_a_hidden_reading_makes_a_tail_outdated_though_the_version_stays(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    await stored.merge(TRACE[:5], START)
    outdated = await stored.sensor()
    outcome = await stored.merge([(TRACE[1][0] - 1000, 9)], START)
    assert len(outcome.hidden) == 1
    assert [chunk.version for chunk in await stored.chunks()] == [1]
    assert await append(pool, outdated, TRACE[5:8], START, START) is None


async def test_a_repeated_upload_writes_and_locks_nothing(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    await stored.merge(TRACE, NOW)
    before = await touched(pool, stored)
    for repeated in (TRACE, TRACE[:3], TRACE[500:501], TRACE[-2:]):
        outcome = await stored.merge(repeated, NOW + 1000)
        assert (outcome.accepted, outcome.early, outcome.late) == (set(), set(), set())
    assert await touched(pool, stored) == before


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_and_batches_give_the_same_rows(pool: asyncpg.Pool, seed: int) -> None:
    chance = random.Random(seed)
    parts, whole = await register(pool, span_ms=6 * HOUR), await register(pool, span_ms=6 * HOUR)
    left = TRACE[:300] + chance.sample(TRACE[:300], 50)
    if seed:
        chance.shuffle(left)
    while left:
        size = chance.randint(1, 60)
        await parts.upload(sorted(set(left[:size])), NOW)
        left = left[size:]
    await whole.merge(TRACE[:300], NOW)
    assert await parts.content() == await whole.content()


async def test_two_clients_at_once_leave_the_rows_of_one(pool: asyncpg.Pool) -> None:
    both, one = await register(pool, span_ms=3 * HOUR), await register(pool, span_ms=3 * HOUR)
    sent: set[Reading] = set()

    async def client(step: int, offset: int) -> None:
        for at in range(offset, 240, step):
            sent.update(TRACE[at : at + 12])
            await both.upload(TRACE[at : at + 12], NOW - 240 + at)

    await asyncio.gather(client(7, 0), client(5, 0), client(12, 6))
    await one.merge(sorted(sent), NOW)
    assert await both.content() == await one.content()


async def test_readings_go_to_the_epoch_of_their_time(pool: asyncpg.Pool) -> None:
    stored = await register(pool, span_ms=HOUR)
    change = START + 90 * MINUTE
    second = await stored.add_epoch(change)
    readings: list[Reading] = [(START - 1, 1), (START, 2), (change - 1, 3), (change, 4), (change + 2 * HOUR, 5)]
    outcome = await stored.merge(readings, NOW)
    assert outcome.early == {(START - 1, 1)}
    assert outcome.accepted == set(readings[1:])
    assert [chunk.filled for chunk in await stored.chunks()] == [1, 1]
    assert [chunk.filled for chunk in await stored.chunks(second)] == [1, 0, 1]


async def test_readings_after_the_last_epoch_are_late(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    await pool.execute("UPDATE epoch SET until_ms = $2 WHERE patient_id = $1", stored.patient_id, START + HOUR)
    outcome = await stored.merge([(START + HOUR, 1), (START + HOUR - 1, 2)], NOW)
    assert (outcome.late, outcome.accepted) == ({(START + HOUR, 1)}, {(START + HOUR - 1, 2)})


async def test_a_device_is_heard_but_not_at_every_upload(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    heard = "SELECT heard_ms FROM device WHERE patient_id = $1"
    await stored.merge(TRACE[:1], START + HEARD_STEP_MS)
    assert await pool.fetchval(heard, stored.patient_id) == START + HEARD_STEP_MS
    await stored.append(TRACE[1:2], START + 2 * HEARD_STEP_MS - 1)
    assert await pool.fetchval(heard, stored.patient_id) == START + HEARD_STEP_MS
    await stored.append(TRACE[2:3], START + 2 * HEARD_STEP_MS)
    assert await pool.fetchval(heard, stored.patient_id) == START + 2 * HEARD_STEP_MS


@one_server_only
async def test_an_upload_does_not_wait_for_a_locked_device(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    await stored.merge(TRACE[:1], START)
    async with pool.acquire() as other, other.transaction():
        await other.execute("UPDATE device SET device_name = 'x' WHERE patient_id = $1", stored.patient_id)
        assert await asyncio.wait_for(stored.append(TRACE[1:2], START + HOUR), 60) is not None


async def test_a_sensor_that_is_gone_takes_nothing(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    sensor = await stored.sensor()
    await pool.execute("DELETE FROM epoch WHERE patient_id = $1", stored.patient_id)
    assert await merge_readings(pool, sensor, TRACE[:1], NOW, DELAY) is None


@one_server_only
async def test_a_month_takes_at_most_four_bytes_per_reading(database_url: str) -> None:
    month = drifting(30 * 288, start_ms=START)
    async with fresh_database(database_url) as url, await connect(url, 2) as pool:
        await migrate(pool)
        sensors = [await register(pool) for _ in range(20)]
        for stored in sensors:
            await stored.merge(month, START + 31 * 24 * HOUR)
        used: int = await pool.fetchval("SELECT pg_total_relation_size('chunk')")
    assert used / (len(sensors) * len(month)) <= 4


async def test_unknown_keys_find_no_sensor(pool: asyncpg.Pool) -> None:
    stored = await register(pool)
    assert await load(pool, stored.patient_id, "device", "other") is None
    assert await load(pool, uuid4(), "device", "sensor") is None


def test_only_the_sensors_written_to_last_are_remembered() -> None:
    keys = [SensorKey(UUID(int=0), "device", name) for name in "abc"]
    remembered, sensor = Remembered(most=2), cast(Sensor, object())
    for key in (keys[0], keys[1], keys[0], keys[2]):
        remembered.put(key, sensor)
    assert [remembered.get(key) is sensor for key in keys] == [True, False, True]
    remembered.forget(keys[0])
    assert remembered.get(keys[0]) is None


@one_server_only
async def test_uploads_at_once_are_as_one_after_the_other(pool: asyncpg.Pool) -> None:
    """By few statements; one whose tail is not what it was is told so, and is nobody else's trouble."""
    crowd, others = [await register(pool) for _ in range(6)], [await register(pool) for _ in range(6)]
    for stored in (*crowd, *others):
        await stored.merge(TRACE[:1], START)
    remembered: list[Sensor | None] = [await stored.sensor() for stored in crowd]
    outdated = remembered[3]
    for at in (1, 13, 40):
        readings, now_ms = TRACE[at : at + 12], START + at * HEARD_STEP_MS
        async with counted(pool) as statements:
            with company(len(crowd) - 1):
                remembered = await asyncio.gather(
                    *(append_together(pool, sensor, readings, now_ms, now_ms) for sensor in remembered if sensor)
                )
        assert len(statements) == 3, statements
        for stored in others:
            await stored.append(readings, now_ms)
        for one, stored, other in zip(remembered, crowd, others, strict=True):
            assert one == await stored.sensor()
            assert await stored.content() == await other.content()
    assert outdated is not None
    before = await crowd[3].chunks()
    remembered[3] = outdated
    later = TRACE[60:62]
    found = await asyncio.gather(
        *(append_together(pool, sensor, later, NOW - 14 * DAY, NOW - 14 * DAY) for sensor in remembered if sensor)
    )
    assert [one is None for one in found] == [False, False, False, True, False, False]
    assert await crowd[3].chunks() == before
