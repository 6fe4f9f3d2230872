"""Traces: reading them, moving them so that they end now, and the same place on every run."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ddr.demo.trace import Recording, TraceError, decimals, placed, read_recording
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


def test_reads_every_person_in_order_of_time(file: Path) -> None:
    trace, other = read_recording(file).traces
    assert (other.person, other.samples, other.lines) == ("Subject 2", ((1_433_628_627_000, 99),), (5,))
    assert trace.lines == (2, 4, 3, 6)
    assert trace.person == "Subject 1"
    assert [value for _, value in trace.samples] == [153, 128.5, 137, 121]
    assert trace.samples[0][0] == 1_433_627_427_000
    assert decimals(trace.samples) == 1
    assert trace.period_ms == 300_000


@pytest.mark.parametrize(
    ("apart", "period"),
    [
        (300, 300),
        (301, 300),
        (60, 60),
        (900, 900),
        (30, 30),
        (90, 90),
        (45, 45),
        (420, 400),
        (100_000, 86_400),
        (1, 300),
    ],
)
def test_the_period_is_short_enough_for_each_reading(tmp_path: Path, apart: int, period: int) -> None:
    path = tmp_path / "steady.csv"
    times = [datetime(2015, 6, 6) + timedelta(seconds=number * apart) for number in range(9)]
    path.write_text("id,time,gl\n" + "".join(f"a,{at},100\n" for at in times))
    assert read_recording(path).traces[0].period_ms == period * 1000


def test_ends_now_and_keeps_its_intervals_and_its_place(file: Path, tmp_path: Path) -> None:
    recording, now = read_recording(file), Clock().ms + 789
    moved = placed(recording, tmp_path, now)
    assert max(trace.last_ms for trace in moved.traces) == now // 1000 * 1000
    shifts = {after - before for (before, _), (after, _) in zip(_all(recording), _all(moved), strict=True)}
    assert len(shifts) == 1
    assert placed(recording, tmp_path, now + 3_600_000) == moved


def _all(recording: Recording) -> list[tuple[int, float | str]]:
    return [sample for trace in recording.traces for sample in trace.samples]


def test_bad_rows_are_told_by_line_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    rows = [
        "a,2015-06-06 21:50:27,high",
        "a,2015-06-06 21:55:27,120",
        "b,x,120",
        "a,2015-06-06 22:00:27,inf",
        "a",
        "c,,",
    ]
    path.write_text("\n".join(["id,time,gl", *rows]))
    found = read_recording(path)
    assert [(trace.person, trace.lines) for trace in found.traces] == [("a", (3,))]
    assert found.faults == (
        "line 2: not a number: 'high'",
        "line 4: not a time such as 2015-06-06 21:50:27: 'x'",
        "line 5: not a number: 'inf'",
        "line 6: not a time such as 2015-06-06 21:50:27: None",
        "line 7: not a time such as 2015-06-06 21:50:27: ''",
    )


def test_rows_that_say_they_have_no_value_are_no_faults(tmp_path: Path) -> None:
    """R writes NA, Python NaN, a spreadsheet nothing."""
    path = tmp_path / "gaps.csv"
    rows = [f"a,2015-06-06 21:5{n}:27,{value}" for n, value in enumerate(["NA", "nan", "", "120", " NA "])]
    path.write_text("\n".join(["id,time,gl", *rows]))
    found = read_recording(path)
    assert ([trace.lines for trace in found.traces], found.faults, found.without) == ([(5,)], (), 4)
    path.write_text("id,time,gl\na,2015-06-06 21:50:27,NA")
    with pytest.raises(TraceError, match="no row has a value"):
        read_recording(path)


@pytest.mark.parametrize(("values", "mmol"), [((5.6, 7.1, 12.9), True), ((56, 71, 129), False), ((40, 40, 41), False)])
def test_numbers_of_the_other_unit_are_noticed(tmp_path: Path, values: tuple[float, ...], mmol: bool) -> None:
    path = tmp_path / "unit.csv"
    path.write_text("id,time,gl\n" + "".join(f"a,2015-06-06 21:5{n}:27,{value}\n" for n, value in enumerate(values)))
    assert read_recording(path).looks_like_mmol is mmol


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "needs the columns"),
        ("id,time\nx,2015-06-06 21:50:27\n", "needs the columns"),
        ("id,time,gl\n", "needs the columns"),
        ("id,time,gl\nx,yesterday,120\n", "line 2"),
        ("id,time,gl\nx,2015-06-06 21:50:27,\n", "no row has a value"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=complaint):
        read_recording(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_recording(tmp_path / "none.csv")
