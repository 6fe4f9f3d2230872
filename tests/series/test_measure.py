"""A drifting trace, measured as docs/time-in-series.md does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.series.measure import main, measure, read_trace
from tests.series.model import drifting

TWO_WEEKS = 14 * 288
TRACE = """id,time,gl
Subject 1,2015-06-06 21:55:28,128
Subject 1,2015-06-06 21:50:27,153
"""


@pytest.mark.parametrize("drift_ms", [-40, -10, 10, 40])
def test_two_weeks_of_drift_stay_within_fifteen_seconds(drift_ms: int) -> None:
    found = measure(drifting(TWO_WEEKS, drift_ms=drift_ms))
    assert found.readings == TWO_WEEKS
    assert found.hidden == 0
    assert found.worst_ms <= 15_000
    assert all(abs(step) <= 13_000 for step in found.steps_ms)
    assert abs(drift_ms) < 40 or found.fixed_worst_ms > 120_000
    assert found.packed_bytes <= 2.3 * found.readings


def test_a_trace_file_is_read_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE + "Subject 1,2015-06-07 21:50:25,90\n")
    assert read_trace(path)[0] == (1_433_627_427_000, 153)
    main(str(path))
    assert "3 readings in 2 chunks, 0 not shown" in capsys.readouterr().out
