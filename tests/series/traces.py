"""Glucose traces as chunks in rows, cut by the series' own rules, and a simple calculation of their metrics."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ddr.series.chain import cut
from ddr.series.grid import Grid
from ddr.series.metrics import Metrics, metrics
from ddr.series.packing import Reading, encode
from ddr.series.selection import counting

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
PERIOD = 5 * MINUTE
START = int(datetime(2025, 9, 1, tzinfo=UTC).timestamp() * 1000)

Row = Mapping[str, Any]

SENSOR = {
    "sensor_no": 1,
    "sensor_started_ms": START,
    "unit": "mg/dL",
    "decimals": 0,
    "lower_limit": Decimal(40),
    "upper_limit": Decimal(400),
    "calibration_state": "calibrated",
}


def rows_of(
    readings: Iterable[Reading], period_ms: int = PERIOD, span_ms: int = DAY, from_ms: int | None = None, **sensor: Any
) -> list[Row]:
    """The chunks of one epoch with these readings; `sensor` replaces columns of SENSOR."""
    ordered = sorted(set(readings))
    grid = Grid(ordered[0][0] if from_ms is None else from_ms, period_ms, span_ms)
    rows: list[Row] = []
    for part in cut(ordered, grid):
        times, vals = encode(part.readings, part.start_ms, period_ms)
        last_ms = part.readings[-1][0] if part.readings else part.start_ms - 1
        chunk = {"start_ms": part.start_ms, "last_ms": last_ms, "times": times, "vals": vals}
        rows.append({**SENSOR, "period_ms": period_ms, **chunk, **sensor})
    return rows


def evenly(values: Iterable[int], period_ms: int = PERIOD, start_ms: int = START) -> list[Reading]:
    """Readings without a gap."""
    return [(start_ms + number * period_ms, value) for number, value in enumerate(values)]


def calculated(
    rows: Iterable[Row], days: float = 14, from_ms: int = START, uncalibrated: bool = False, zone: Any = UTC
) -> Metrics:
    """The metrics of a reporting period of so many days."""
    length = round(days * DAY)
    found = metrics(counting(rows, from_ms, from_ms + length, uncalibrated), length, zone)
    assert found is not None
    return found


def counted(rows: Iterable[Row], from_ms: int = 0, until_ms: int = 1 << 50, **options: bool) -> list[Reading]:
    """The readings that count, in order of time."""
    parts = counting(rows, from_ms, until_ms, **options)
    return sorted(pair for part in parts for pair in zip(part.times, part.raws, strict=True))


def worn(seed: int, days: int = 14) -> list[Reading]:
    """A trace like a real one: a clock that drifts and jitters, lost hours, lost readings, a restless course."""
    rng = random.Random(seed)
    drift, level, found = rng.uniform(-0.5, 0.5), rng.gauss(150, 20), []
    away_until = 0
    for number in range(days * 288):
        time = START + round(number * (300 + drift) + rng.choice((0, 0, 0, 0, -1, 1))) * 1000 + 1000
        level += rng.gauss((150 - level) / 40, 6)
        if rng.random() < 0.002:
            away_until = time + round(rng.expovariate(1 / 90)) * MINUTE
        if time > away_until and rng.random() > 0.01:
            found.append((time, min(400, max(40, round(level + 60 * max(0.0, rng.gauss(0, 0.3)))))))
    return found


def recorded(path: Path) -> Sequence[Reading]:
    """A trace in a file with the columns id, time (UTC) and gl (mg/dL)."""
    with path.open() as lines:
        return [(_milliseconds(row["time"]), round(float(row["gl"]))) for row in csv.DictReader(lines)]


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
