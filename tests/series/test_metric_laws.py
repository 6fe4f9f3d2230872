"""Laws of the metrics for any trace: they depend on the set of readings and on nothing else."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from random import Random
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.grid import Grid
from ddr.series.packing import ERROR, HIGH, LOW, Reading
from tests.series.model import Recorder as Memory
from tests.series.traces import DAY, HOUR, MINUTE, PERIOD, START, Row, calculated, counted, rows_of, worn

SPANS = (HOUR, 6 * HOUR, DAY, 7 * DAY)


values = st.integers(20, 500) | st.sampled_from((LOW, HIGH))


@st.composite
def traces(draw: st.DrawFn) -> list[Reading]:
    """Readings of up to four days, at most an eighth of a period off their time, with gaps of any length."""
    numbers = draw(st.sets(st.integers(0, 4 * 288 - 1), min_size=1, max_size=80))
    late = st.integers(0, PERIOD // 8)
    return [(START + number * PERIOD + draw(late), draw(values)) for number in sorted(numbers)]


@st.composite
def wild_traces(draw: st.DrawFn) -> list[Reading]:
    """Readings of up to four days that came at any time, crowded, twice, with errors among them."""
    times = st.integers(START, START + 4 * DAY)
    bursts = draw(st.lists(times, min_size=1, max_size=20))
    near = st.tuples(st.sampled_from(bursts), st.integers(0, 2 * PERIOD)).map(sum)
    any_value = values | st.just(ERROR)
    return sorted(draw(st.sets(st.tuples(times | near, any_value), max_size=60)) | {(bursts[0], draw(values))})


@given(traces())
def test_ranges_sum_to_the_whole(readings: list[Reading]) -> None:
    found = calculated(rows_of(readings), days=5)
    assert sum(found.ranges) == 100
    assert min(found.ranges) >= 0
    assert found.readings == len(readings)


@given(traces())
def test_plain_formulas(readings: list[Reading]) -> None:
    values = [{LOW: 39, HIGH: 401}.get(raw, raw) for _, raw in readings]
    found = calculated(rows_of(readings), days=5)
    assert float(found.mean) == pytest.approx(fmean(values), abs=1e-6)
    assert found.active == Fraction(100 * len(values) * 5, 5 * 1440)
    if len(values) > 1:
        assert found.cv == pytest.approx(100 * stdev(values) / fmean(values), abs=1e-6)


@given(traces(), st.sampled_from(SPANS), st.sampled_from(SPANS))
def test_the_span_of_chunks_does_not_matter(readings: list[Reading], first: int, second: int) -> None:
    assert calculated(rows_of(readings, span_ms=first), 5) == calculated(rows_of(readings, span_ms=second), 5)


@given(traces(), st.lists(st.integers(START, START + 4 * DAY), max_size=3))
def test_calibrations_do_not_matter(readings: list[Reading], at: list[int]) -> None:
    bounds = [START, *sorted(at), START + 5 * DAY]
    rows: list[Row] = []
    for begin, end in pairwise(bounds):
        if part := [reading for reading in readings if begin <= reading[0] < end]:
            rows += rows_of(part, from_ms=begin)
    assert calculated(rows, 5) == calculated(rows_of(readings), 5)


@given(wild_traces(), st.randoms(), st.integers(1, 5))
def test_the_order_of_uploads_does_not_matter(readings: list[Reading], random: Random, batches: int) -> None:
    shuffled = list(readings)
    random.shuffle(shuffled)
    memory = Memory(Grid(START, PERIOD, 6 * HOUR))
    for number in range(batches):
        if batch := shuffled[number::batches]:
            memory.upload(batch)
    sensor = rows_of(readings)[0]
    rows = [
        {**sensor, "start_ms": c.start_ms, "last_ms": c.last_ms, "times": c.times, "vals": c.vals}
        for c in memory.chunks.values()
    ]
    assert calculated(rows, 5) == calculated(rows_of(readings, span_ms=6 * HOUR, from_ms=START), 5)


@given(traces(), st.integers(START - HOUR, START + 4 * DAY), st.integers(0, 4 * DAY))
def test_a_period_counts_exactly_its_readings(readings: list[Reading], from_ms: int, length: int) -> None:
    expected = [reading for reading in readings if from_ms <= reading[0] < from_ms + length]
    assert counted(rows_of(readings), from_ms, from_ms + length) == expected


@given(wild_traces(), wild_traces())
def test_nothing_counts_twice(first: list[Reading], second: list[Reading]) -> None:
    newer = rows_of(second, sensor_no=2, sensor_started_ms=START + MINUTE)
    found = counted([*rows_of(first), *newer])
    assert set(counted(newer)) <= set(found) <= {*first, *second}
    assert all(later > time for (time, _), (later, _) in pairwise(found))


def test_a_long_trace_in_any_chunks() -> None:
    readings = worn(7, days=30)
    results = [calculated(rows_of(readings, span_ms=span_ms), 30) for span_ms in SPANS]
    # readings that share a slot differ by span: of 8,640 a few
    assert max(result.readings for result in results) - min(result.readings for result in results) < 20
    assert all(float(result.mean) == pytest.approx(float(results[0].mean), rel=1e-4) for result in results)
