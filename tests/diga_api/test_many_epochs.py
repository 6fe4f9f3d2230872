"""The cost of a search grows with a patient's calibration epochs, not with their square, whatever it includes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from ddr.http.core import Core
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, MINUTE, Body

FEW, MANY = 2_000, 6_000
OTHERS = 300  # patients
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")

# Each epoch lasts a minute and holds one chunk with one reading at its beginning.
_MANY = """
WITH made AS (
  INSERT INTO epoch (patient_id, device_no, sensor_no, from_ms, until_ms, calibration_state, updated_ms, tail_k,
                     tail_start_ms)
  SELECT $1, $2, $3, $4 + n * 60000, $4 + (n + 1) * 60000, CASE n % 2 WHEN 0 THEN 'calibrated' ELSE 'unspecified' END,
         $4 + n, 0, $4 + n * 60000
    FROM generate_series(0, $5::bigint - 1) AS n
  RETURNING epoch_no, from_ms)
INSERT INTO chunk (patient_id, epoch_no, k, start_ms, last_ms, updated_ms, version, filled, status, times, vals)
SELECT $1, epoch_no, 0, from_ms, from_ms, from_ms, 1, 1, 'f', '\\x0000', '\\x6400' FROM made"""


@pytest.fixture(autouse=True)
async def few_rows_each(pool: asyncpg.Pool, core: Core) -> None:
    """The planner has only seen patients with one device, one sensor and one epoch."""
    for _ in range(OTHERS):
        body = Body(core)
        device_no = await body.device()
        sensor_no = await body.sensor(device_no, CGM)
        await pool.execute(_MANY, body.patient_id, device_no, sensor_no, core.clock() - DAY, 1)
    await pool.execute("ANALYZE epoch, sensor, device, chunk")


@pytest.mark.parametrize(
    "path",
    [
        "DeviceMetric?_revinclude=Observation:device&_count=200",
        "Device?_revinclude=Observation:device&_count=10",
        "Device?_revinclude=DeviceMetric:source&_count=10",
        "Observation?_include=Observation:device&_count=10",
    ],
)
async def test_searches_of_a_patient_with_many_epochs(core: Core, pair: Pair, path: str) -> None:
    seconds = []
    for epochs in (FEW, MANY):
        body = Body(core)
        device_no = await body.device()
        sensor_no = await body.sensor(device_no, CGM)
        from_ms = body.core.clock() - epochs * MINUTE - DAY
        await body.core.pool.execute(_MANY, body.patient_id, device_no, sensor_no, from_ms, epochs)
        diga, began = await pair(CGM, of=body), await computed(body.core.pool)
        answer = await diga.get(path)
        seconds.append(await computed(body.core.pool) - began)
        assert answer.status_code == 200
        modes = [entry["search"]["mode"] for entry in answer.json()["entry"]]
        assert "match" in modes
        if path.startswith("DeviceMetric"):
            assert modes.count("include") == modes.count("match") == 200
    # three times the epochs; an EXISTS for each row against the page took nine times the work
    assert seconds[1] < 5 * seconds[0] + 15 * TICK_SECONDS


async def computed(pool: asyncpg.Pool) -> float:
    """Processor seconds of the database's processes that serve this test; other load does not change them.

    Its background processes come and go, and do not count.
    """
    pids = await pool.fetchval(
        "SELECT array_agg(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend'"
    )
    return TICK_SECONDS * sum(map(_ticks, pids))


def _ticks(pid: int) -> int:
    """utime and stime of a process, 0 when it has ended (proc_pid_stat(5))."""
    with suppress(FileNotFoundError):
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return 0
