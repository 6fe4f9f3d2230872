"""Traces: reading them, moving them so that they end now, and the same place on every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddr.demo.trace import TraceError, decimals, placed, read_trace
from tests.support.clock import Clock

TRACE = """id,time,gl
Subject 1,2015-06-06 21:50:27,153
Subject 1,2015-06-06 22:05:27,137
Subject 1,2015-06-06 22:00:27,128.5
Subject 2,2015-06-06 22:10:27,99
Subject 1,2015-06-06 22:10:27,121
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def test_reads_one_person_in_order_of_time(file: Path) -> None:
    trace = read_trace(file)
    assert trace.person == "Subject 1"
    assert [value for _, value in trace.samples] == [153, 128.5, 137, 121]
    assert trace.samples[0][0] == 1_433_627_427_000
    assert decimals(trace.samples) == 1
    assert trace.period_ms == 300_000


def test_ends_now_and_keeps_its_intervals_and_its_place(file: Path, tmp_path: Path) -> None:
    trace, now = read_trace(file), Clock().ms + 789
    moved = placed(trace, tmp_path, now)
    assert moved.last_ms == now // 1000 * 1000
    shifts = {after - before for (before, _), (after, _) in zip(trace.samples, moved.samples, strict=True)}
    assert len(shifts) == 1
    assert placed(trace, tmp_path, now + 3_600_000) == moved


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "needs the columns"),
        ("id,time\nx,2015-06-06 21:50:27\n", "needs the columns"),
        ("id,time,gl\n", "needs the columns"),
        ("id,time,gl\nx,yesterday,120\n", "line 2"),
        ("id,time,gl\nx,2015-06-06 21:50:27,\n", "line 2"),
        ("id,time,gl\nx,2015-06-06 21:50:27,120\nx\n", "line 3"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=complaint):
        read_trace(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
