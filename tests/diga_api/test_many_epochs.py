"""A patient with very many calibration epochs costs a search some seconds at most, whatever it includes."""

from __future__ import annotations

import asyncio

import pytest

from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, MINUTE, Body

EPOCHS = 20_000
MOST_SECONDS = 15  # with an EXISTS for each row against the page it was 20 s on an idle machine

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


@pytest.mark.parametrize(
    "path",
    [
        "DeviceMetric?_revinclude=Observation:device&_count=200",
        "Device?_revinclude=Observation:device&_count=10",
        "Device?_revinclude=DeviceMetric:source&_count=10",
        "Observation?_include=Observation:device&_count=10",
    ],
)
async def test_searches_of_a_patient_with_many_epochs(body: Body, pair: Pair, path: str) -> None:
    device_no = await body.device()
    sensor_no = await body.sensor(device_no, CGM)
    from_ms = body.core.clock() - EPOCHS * MINUTE - DAY
    await body.core.pool.execute(_MANY, body.patient_id, device_no, sensor_no, from_ms, EPOCHS)
    diga = await pair(CGM)
    async with asyncio.timeout(MOST_SECONDS):
        answer = await diga.get(path)
    assert answer.status_code == 200
    modes = [entry["search"]["mode"] for entry in answer.json()["entry"]]
    assert "match" in modes
    if path.startswith("DeviceMetric"):
        assert modes.count("include") == modes.count("match") == 200
