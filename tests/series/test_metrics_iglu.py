"""The metrics against iglu-python, an independent implementation, on generated traces and on a real one.

Its pitfalls: without `dt0` and a fixed range it takes the period from first to last reading as the whole, and times
without a zone as the machine's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ddr.series.packing import Reading
from tests.series.traces import DAY, START, calculated, recorded, rows_of, worn

DAYS = 14


@pytest.fixture(scope="module")
def iglu() -> Iterator[ModuleType]:
    """The library, in UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    import iglu_python

    yield iglu_python
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before


def theirs(iglu: ModuleType, readings: list[Reading], end_ms: int) -> list[float]:
    """Mean, CV, GMI; below 54 and 70, 70 to 180, above 180 and 250; sensor active over the 14 days before `end_ms`."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "id": "x",
            "time": pd.to_datetime([time for time, _ in readings], unit="ms"),
            "gl": [float(raw) for _, raw in readings],
        }
    )
    end = datetime.fromtimestamp(end_ms / 1000, UTC)
    active = iglu.active_percent(frame, dt0=5, range_type="manual", ndays=DAYS, consistent_end_date=end)
    return [
        only(iglu.mean_glu(frame), "mean"),
        only(iglu.cv_glu(frame), "CV"),
        only(iglu.gmi(frame), "GMI"),
        *(only(iglu.below_percent(frame, targets_below=[54, 70]), f"below_{limit}") for limit in (54, 70)),
        only(iglu.in_range_percent(frame, target_ranges=[[70, 180]]), "in_range_70_180"),
        *(only(iglu.above_percent(frame, targets_above=[180, 250]), f"above_{limit}") for limit in (180, 250)),
        only(active, "active_percent"),
    ]


def only(frame: Any, column: str) -> float:
    return float(frame[column].iloc[0])


def ours(readings: list[Reading], from_ms: int) -> list[float]:
    found = calculated(rows_of(readings), DAYS, from_ms)
    very_low, low, target, high, very_high = found.ranges
    assert found.cv is not None
    shares = (very_low, very_low + low, target, high + very_high, very_high)
    return [float(found.mean), found.cv, float(found.gmi), *map(float, shares), float(found.active)]


@pytest.mark.parametrize("seeds", [range(first, first + 20) for first in range(0, 200, 20)], ids=str)
def test_generated_traces(iglu: ModuleType, seeds: range) -> None:
    for seed in seeds:
        readings = [reading for reading in worn(seed, DAYS) if reading[0] < START + DAYS * DAY]
        assert ours(readings, START) == pytest.approx(theirs(iglu, readings, START + DAYS * DAY), abs=1e-6), seed


def test_a_real_trace(iglu: ModuleType) -> None:
    """The file of DDR_CGM_TRACE (columns id, time, gl in mg/dL); without one, a generated trace of 30 days."""
    path = os.environ.get("DDR_CGM_TRACE")
    readings = list(recorded(Path(path)) if path else worn(1000, 30))
    end_ms = readings[-1][0]
    last = [reading for reading in readings if reading[0] >= end_ms - DAYS * DAY]
    # its range has both ends
    assert ours(last, end_ms + 1 - DAYS * DAY) == pytest.approx(theirs(iglu, last, end_ms), abs=1e-6)
