"""Time in the five ranges in words: how each is counted, percent, time per day, and the targets. Pure.

Battelino 2019 (doi:10.2337/dci19-0028): ranges and targets for most people with diabetes of type 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

DAY_MINUTES = 1440
# Very high to very low: the values that count, in the unit that the patient is used to.
COUNTED = {
    "mg/dL": (">250", "181–250", "70–180", "54–69", "<54"),
    "mmol/L": (">13.9", "10.1–13.9", "3.9–10.0", "3.0–3.8", "<3.0"),
}
# Of a range together with the one beyond it, in the words of the consensus: above 180 (with above 250) and so on.
TARGETS = ("<5 %", "<25 %", ">70 %", "<4 %", "<1 %")


@dataclass(frozen=True)
class Range:
    """One range: `place` in Metrics.ranges (4 very high … 0 very low); `share` in tenths of a per cent of the time."""

    place: int
    counted: str
    share: int
    minutes: int
    target: str


def ranges(shares: Sequence[Fraction], unit: str) -> list[Range]:
    """The ranges from very high to very low. Shares sum to exactly 100.0 %, minutes to exactly one day.

    `shares`: per cent of very low … very high (ddr.series.metrics); the sum is 100.
    """
    tenths = whole([share * 10 for share in shares], 1000)
    minutes = whole([share * DAY_MINUTES / 100 for share in shares], DAY_MINUTES)
    return [
        Range(place, COUNTED[unit][4 - place], tenths[place], minutes[place], TARGETS[4 - place])
        for place in (4, 3, 2, 1, 0)
    ]


def whole(parts: Sequence[Fraction], total: int) -> list[int]:
    """Whole numbers close to `parts` whose sum is `total`: those with the largest remainders are rounded up."""
    down = [part.numerator // part.denominator for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda at: (down[at] - parts[at], at))
    for at in by_rest[: total - sum(down)]:
        down[at] += 1
    return down
