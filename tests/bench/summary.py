"""Processor time of a CGM summary of 30 days, from the fetched rows to the bytes of the response."""

from __future__ import annotations

import random
import time
from math import fsum
from typing import Any
from zoneinfo import ZoneInfo

from ddr.fhir.cgm_summary import summary_bundle
from ddr.fhir.negotiation import Format
from ddr.fhir.reporting_period import reporting_period
from ddr.fhir.representation import render
from ddr.series.metrics import metrics
from ddr.series.selection import counting
from tests.bench.figure import Figure, Goal, against
from tests.series.traces import DAY, MINUTE, START, rows_of

DAYS, REPETITIONS = 30, 20
PERIODS = (5 * MINUTE, MINUTE)
MOST = Goal(most=6)  # times as long as to sort the readings and to sum them up
ZONE = ZoneInfo("Europe/Berlin")


def run() -> list[Figure]:
    """One figure per sampling period."""
    return [_measured(period_ms) for period_ms in PERIODS]


def _measured(period_ms: int) -> Figure:
    trace = _trace(period_ms)
    rows, values = rows_of(trace, period_ms), [value for _, value in trace]
    taken, floors = [], []
    for _ in range(REPETITIONS):
        taken.append(_milliseconds(rows))
        floors.append(_sorted(values))
    minutes = period_ms // MINUTE
    text = f"CGM summary of {DAYS} days, a reading every {minutes} min, beyond the fetch, against sorting and a sum"
    return against(f"summary_{minutes}min", text, "ms CPU", taken, floors, MOST)


def _sorted(values: list[int]) -> float:
    begin = time.process_time()
    fsum(sorted(map(float, values)))
    return (time.process_time() - begin) * 1000


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
