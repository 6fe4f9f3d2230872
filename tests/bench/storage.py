"""Bytes per reading on disk, indexes included, for 30 days of 5-minute readings that arrive hour by hour."""

from __future__ import annotations

import random

import asyncpg

from ddr.series.packing import Reading
from tests.bench.figure import Figure, Goal
from tests.store.continuous import DAY, HOUR, MINUTE, START, register

PATIENTS, DAYS, BATCH = 60, 30, 12
MOST = 3.6  # bytes per reading
PERIOD = 5 * MINUTE


async def run(pool: asyncpg.Pool) -> list[Figure]:
    """Uploads of an hour each, patients taking turns. A month passes in seconds, too fast for autovacuum, so every
    simulated day ends with the VACUUM that a real day has several times.
    """
    sensors = [await register(pool) for _ in range(PATIENTS)]
    traces = [_trace(random.Random(index)) for index in range(PATIENTS)]
    for at in range(0, len(traces[0]), BATCH):
        for sensor, trace in zip(sensors, traces, strict=True):
            await sensor.upload(trace[at : at + BATCH], trace[at][0] + HOUR)
        if at % (DAY // PERIOD) == 0:
            await pool.execute("VACUUM chunk")
    size = await pool.fetchval("SELECT pg_total_relation_size('chunk') + pg_total_relation_size('epoch')")
    per_reading = size / (PATIENTS * len(traces[0]))
    name = f"storage: {PATIENTS} sensors, {DAYS} days, uploads of {BATCH}"
    return [Figure("bytes_per_reading", name, per_reading, "bytes", target=Goal(most=MOST))]


def _trace(chance: random.Random) -> list[Reading]:
    """A month of a sensor whose clock runs fast and jitters by a second, with a missing reading now and then."""
    count = DAYS * DAY // PERIOD
    times = (
        (START + index * (PERIOD - 20)) // 1000 * 1000 + chance.choice((0,) * 9 + (1000,)) for index in range(count)
    )
    return [(time, chance.randint(60, 250)) for time in times]
