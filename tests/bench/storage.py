"""Bytes on disk, indexes included: of a reading, for 30 days of 5-minute readings that arrive hour by hour; of an entry
of the audit trail, for a day of polls, before and after it is packed; and of a record of the request log."""

from __future__ import annotations

import asyncio
import random

import asyncpg

from ddr.operations.audit_trail import seal
from ddr.series.packing import Reading
from tests.bench import request_log
from tests.bench.figure import Figure, Goal
from tests.store.continuous import DAY, HOUR, MINUTE, START, register
from tests.support.audit import DAY_MS, HOUR_MS, pack_all
from tests.support.day import today

PATIENTS, DAYS, BATCH = 240, 30, 12  # of 60, what each file has before the first row is 0.2 bytes a reading
AT_ONCE = 4
MOST = 3.6  # bytes per reading
PERIOD = 5 * MINUTE
PAIRINGS, POLLS = 1000, 96
_POLLS = """
INSERT INTO audit (patient_id, at_ms, event, client_id, pairing_id, detail, hour)
SELECT md5('patient' || person)::uuid, at_ms, 'diga:data:read', 'urn:diga:bfarm:00101',
       md5('one' || person) || md5('two' || person),
       '{"type": "Observation", "valuesets": ["https://gematik.de/fhir/hddt/ValueSet/hddt-miv"]}', at_ms / 3600000
  FROM generate_series(1, $1) AS person, generate_series(0, 95) AS poll,
       LATERAL (SELECT $2::bigint + poll * 900000 + person * 800 + (random() * 60000)::bigint AS at_ms) AS t
 WHERE at_ms / 3600000 >= $3 ORDER BY at_ms"""
_SIZE = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree($1::regclass)"


async def run(pool: asyncpg.Pool) -> list[Figure]:
    """Uploads of an hour each, some patients at once. A month passes in seconds, too fast for autovacuum, so every
    simulated day ends with the VACUUM that a real day has several times.
    """
    sensors = [await register(pool) for _ in range(PATIENTS)]
    traces = [_trace(random.Random(index)) for index in range(PATIENTS)]
    worn = list(zip(sensors, traces, strict=True))
    for at in range(0, len(traces[0]), BATCH):
        for first in range(0, PATIENTS, AT_ONCE):
            hours = [(sensor, trace[at : at + BATCH]) for sensor, trace in worn[first : first + AT_ONCE]]
            await asyncio.gather(*(sensor.upload(readings, readings[0][0] + HOUR) for sensor, readings in hours))
        if at % (DAY // PERIOD) == 0:
            await pool.execute("VACUUM chunk")
    size = await pool.fetchval("SELECT pg_total_relation_size('chunk') + pg_total_relation_size('epoch')")
    per_reading = size / (PATIENTS * len(traces[0]))
    name = f"storage: {PATIENTS} sensors, {DAYS} days, uploads of {BATCH}"
    readings = Figure("bytes_per_reading", name, per_reading, "bytes", target=Goal(most=MOST))
    return [readings, *await _admissions(pool), *await request_log.figures(pool)]


async def _admissions(pool: asyncpg.Pool) -> list[Figure]:
    """Yesterday's polls of PAIRINGS, in the order of time."""
    begun_ms = (today() - 1) * DAY_MS
    await pool.execute("SELECT audit_open((now() AT TIME ZONE 'UTC')::date - 1)")
    await pool.execute(_POLLS, PAIRINGS, begun_ms, begun_ms // HOUR_MS)
    fresh = await pool.fetchval(_SIZE, "audit") / (PAIRINGS * POLLS)
    await seal(pool, begun_ms + DAY_MS)
    await pack_all(pool)
    packed = sum([await pool.fetchval(_SIZE, table) for table in ("audit_packed", "audit_word")])
    name = f"audit trail: a day of {POLLS} polls of {PAIRINGS:,} pairings"
    return [
        Figure("bytes_per_admission", f"{name}, packed", packed / (PAIRINGS * POLLS), "bytes", target=Goal(most=8)),
        Figure("bytes_per_admission_fresh", f"{name}, not yet packed", fresh, "bytes"),
    ]


def _trace(chance: random.Random) -> list[Reading]:
    """A month of a sensor whose clock runs fast and jitters by a second, with a missing reading now and then."""
    count = DAYS * DAY // PERIOD
    times = (
        (START + index * (PERIOD - 20)) // 1000 * 1000 + chance.choice((0,) * 9 + (1000,)) for index in range(count)
    )
    return [(time, chance.randint(60, 250)) for time in times]
