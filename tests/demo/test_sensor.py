"""The simulated sensor: repeatable, plausible, with the oddities of real ones."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

import pytest

from ddr.demo.sensor import GlucoseSensor
from ddr.durations import DAY_MS
from tests.support.clock import Clock

NOW = Clock().ms
START = NOW - 30 * DAY_MS


def test_the_same_history_however_far_it_is_asked() -> None:
    sensor = GlucoseSensor(1, START, "mg/dL")
    long = list(sensor.samples(NOW))
    assert list(sensor.samples(NOW - DAY_MS)) == [sample for sample in long if sample[0] <= NOW - DAY_MS]
    assert list(GlucoseSensor(2, START, "mg/dL").samples(NOW)) != long


@pytest.mark.parametrize(("unit", "low", "high", "usual"), [("mg/dL", 40, 400, 145), ("mmol/L", 2.2, 22.2, 8)])
def test_values_are_within_the_limits_or_marked(unit: str, low: float, high: float, usual: float) -> None:
    values = [value for _, value in GlucoseSensor(3, START, unit).samples(NOW)]
    numbers = [value for value in values if isinstance(value, int | float)]
    assert min(numbers) >= low and max(numbers) <= high
    assert abs(mean(numbers) - usual) < usual / 5
    assert set(map(type, values)) <= {int, float, str}


def test_marks_and_gaps_occur() -> None:
    samples = [sample for seed in range(5) for sample in GlucoseSensor(seed, START, "mg/dL").samples(NOW)]
    assert {value for _, value in samples if isinstance(value, str)} == {"L", "U"}
    times = [at_ms for at_ms, _ in GlucoseSensor(0, START, "mg/dL").samples(NOW)]
    steps = [after - before for before, after in pairwise(times)]
    assert max(steps) > 1_500_000


def test_its_clock_is_slow() -> None:
    sensor = GlucoseSensor(0, START, "mg/dL")
    times = [at_ms for at_ms, _ in sensor.samples(NOW)]
    assert (times[-1] - START) % sensor.period_ms > 100_000, "a month of drift"
