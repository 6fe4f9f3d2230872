"""The kit's own calculation of a summary: known results lie within its bounds, and the bounds are narrow."""

from __future__ import annotations

from math import pi, sin

import pytest

from ddr.conform.laws import codes, summary
from ddr.conform.laws.chunks import Chunk, series
from ddr.conform.laws.summary import Bounds, bounds, samples
from ddr.durations import DAY_MS

STEP = 300_000
FOURTEEN = (0.0, 14 * DAY_MS - 1.0)


def observation(values: list[float | str], name: str = "1", start_ms: int = 0, device: str = "a") -> dict[str, object]:
    start = f"1970-01-{1 + start_ms // DAY_MS:02d}T{start_ms % DAY_MS // 3_600_000:02d}:00:00Z"
    data = {"origin": {"code": "mg/dL"}, "period": STEP, "data": " ".join(map(str, values))}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": codes.LOINC, "code": "99504-3"}]},
        "device": {"reference": f"DeviceMetric/{device}"},
        "effectivePeriod": {"start": start, "end": "1970-02-01T00:00:00Z"},
        "valueSampledData": data,
    }


def of(*observations: dict[str, object], uncalibrated: tuple[str, ...] = ()) -> Bounds:
    found: dict[str, list[Chunk]] = series(observations)
    return bounds(samples(found, {f"Observation/{one['id']}": one for one in observations}, uncalibrated), [FOURTEEN])


def holds(found: Bounds, code: str, value: float, width: float) -> bool:
    return any(low - 1e-6 <= value <= high + 1e-6 and high - low <= width for low, high in found[code])


# iglu (R) and iglu-python: mean, CV, GMI, shares of the five ranges, share of 14 days with a value.
WAVE = [float(round(150 + 70 * sin(2 * pi * i / 288) + 35 * sin(2 * pi * i / (288 * 3.7)))) for i in range(4032)]
VECTORS = (
    (
        [53, 54, 69, 70, 180, 181, 250, 251],
        (138.5, 62.582483279, 6.62292),
        (12.5, 25.0, 25.0, 25.0, 12.5),
        8 / 40.32,
    ),
    ([100, "E", 120, 140], (120.0, 16.6666667, 6.1804), (0, 0, 100, 0, 0), 3 / 40.32),
    (
        WAVE,
        (151.1609623016, 36.9837520890, 6.9257702183),
        (3.100198, 5.704365, 56.200397, 33.680556, 1.314484),
        100.0,
    ),
)


@pytest.mark.parametrize(("values", "metrics", "shares", "active"), VECTORS)
def test_known_results(
    values: list[float | str], metrics: tuple[float, ...], shares: tuple[float, ...], active: float
) -> None:
    found = of(observation(values))
    for code, value in zip((summary.MEAN_MASS, summary.CV, summary.GMI), metrics, strict=True):
        assert holds(found, code, value, 25.0), code
    for code, value in zip(codes.RANGES, shares, strict=True):
        assert holds(found, code, value, 13.0), code
    assert holds(found, summary.ACTIVE, active, 1.0)
    assert holds(found, summary.MEAN_MOLES, metrics[0] / 18.0156, 1.0)


def test_a_fortnight_leaves_little_room() -> None:
    found = of(observation(list(WAVE)))
    widths = {code: max(high - low for low, high in ways) for code, ways in found.items()}
    assert max(widths[code] for code in (summary.MEAN_MASS, summary.CV, summary.GMI, *codes.RANGES)) < 0.1


def test_each_choice_is_within() -> None:
    signs = of(observation(["L", 100, 100, "U"]))
    for value in (100, (40 + 200 + 400) / 4, (39 + 200 + 401) / 4):
        assert holds(signs, summary.MEAN_MASS, value, 150.0)
    warm = of(observation([60] * 10), observation([160] * 10, "2", DAY_MS, "b"), uncalibrated=("DeviceMetric/a",))
    assert holds(warm, summary.MEAN_MASS, 160, 100.0) and holds(warm, summary.MEAN_MASS, 110, 100.0)
    both = of(observation([100] * 20), observation([200] * 20, "2", 0, "b"))
    for value in (100, 150, 200):
        assert holds(both, summary.MEAN_MASS, value, 100.0)
    assert holds(both, summary.DAYS, 1, 1.0) and not holds(both, summary.DAYS, 3, 9.0)


def test_nothing_gives_nothing() -> None:
    assert of(observation(["E", "E"])) == {} and bounds([], [FOURTEEN]) == {}
