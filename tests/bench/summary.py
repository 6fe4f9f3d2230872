"""Processor time of a CGM summary of 30 days, from the fetched rows to the bytes of the answer."""

from __future__ import annotations

import random
import time
from typing import Any
from zoneinfo import ZoneInfo

from ddr.fhir.cgm_summary import summary_bundle
from ddr.fhir.negotiation import Format
from ddr.fhir.reporting_period import reporting_period
from ddr.fhir.representation import render
from ddr.series.metrics import metrics
from ddr.series.selection import counting
from tests.bench.table import Row
from tests.series.traces import DAY, MINUTE, START, rows_of

DAYS, REPETITIONS = 30, 20
MOST_MS = {5 * MINUTE: 3.0, MINUTE: 8.0}  # by sampling period
ZONE = ZoneInfo("Europe/Berlin")


def run() -> list[Row]:
    """One row per sampling period."""
    return [_measured(period_ms, most) for period_ms, most in MOST_MS.items()]


def _measured(period_ms: int, most: float) -> Row:
    rows = rows_of(_trace(period_ms), period_ms)
    times = sorted(_milliseconds(rows) for _ in range(REPETITIONS))
    middle = times[REPETITIONS // 2]
    name = f"CGM summary of {DAYS} days, a reading every {period_ms // MINUTE} min, beyond the fetch"
    return Row(name, f"{middle:.1f} ms CPU", f"at most {most:.0f} ms", middle <= most)


def _milliseconds(rows: list[Any]) -> float:
    begin = time.process_time()
    until_ms = START + DAYS * DAY
    period = reporting_period({}, ZONE, until_ms, START)
    found = metrics(counting(rows, START, until_ms), DAYS * DAY, ZONE)
    assert found is not None
    render(summary_bundle(found, period, "0" * 64, [], "2026-11-22T10:00:00.000Z"), Format.JSON)
    return (time.process_time() - begin) * 1000


def _trace(period_ms: int) -> list[tuple[int, int]]:
    """A sensor whose clock is slow and jitters by a second, as in recorded traces."""
    chance = random.Random(period_ms)
    slow = period_ms // 5000
    times = (
        START + index * (period_ms + slow) // 1000 * 1000 + chance.choice((0,) * 10 + (-1000, 1000))
        for index in range(DAYS * DAY // (period_ms + slow) - 1)
    )
    return [(time_ms, min(400, max(40, round(chance.gauss(150, 50))))) for time_ms in times]
