"""What the raw values of a glucose sensor mean: unit, the five ranges of the international consensus, `L` and `U`.

docs/cgm-summary.md gives the reason for each rule.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ddr.series.packing import HIGH, LOW

MG_PER_MMOL = Fraction("18.0156")  # mg/dL in 1 mmol/L: glucose has 180.156 g/mol

# Very low | low | in range | high | very high (Battelino 2019, doi:10.2337/dci19-0028). The first two limits belong to
# the range above them, the last two to the range below them.
RANGES = 5
_LIMITS = {"mg/dL": ("54", "70", "180", "250"), "mmol/L": ("3.0", "3.9", "10.0", "13.9")}
# The usual measuring range of such sensors, for those that do not state theirs.
_USUAL = {"mg/dL": ("40", "400"), "mmol/L": ("2.2", "22.2")}


@dataclass(frozen=True, slots=True)
class Scale:
    """How raw values (value · 10^decimals) of one kind of sensor are read; `low` and `high` stand for `L` and `U`."""

    unit: str
    decimals: int
    low: int
    high: int

    @classmethod
    def of(cls, unit: str, decimals: int, lower: Decimal | None, upper: Decimal | None) -> Scale:
        """From the sensor's UCUM unit, number of decimals, and limits in that unit.

        A value beyond a limit counts as one step beyond that limit, as insulin pumps do it (39 and 401 mg/dL).
        """
        usual_lower, usual_upper = map(Decimal, _USUAL[unit])
        low = math.ceil((usual_lower if lower is None else lower).scaleb(decimals)) - 1
        high = math.floor((usual_upper if upper is None else upper).scaleb(decimals)) + 1
        return cls(unit, decimals, low, high)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Scale:
        """The scale of a sensor, from a row with its columns."""
        return cls.of(row["unit"], row["decimals"], row["lower_limit"], row["upper_limit"])

    @property
    def step(self) -> Fraction:
        """One raw step in mg/dL, exact."""
        return (MG_PER_MMOL if self.unit == "mmol/L" else 1) * Fraction(1, 10**self.decimals)

    def number(self, raw: int) -> int:
        """The number to calculate with: for LOW and HIGH one just beyond the limits, else the raw value."""
        return self.low if raw == LOW else self.high if raw == HIGH else raw

    def limits(self) -> tuple[int, ...]:
        """The greatest number of each range but the last, for `range_of`."""
        low, target, high, very_high = (Decimal(limit).scaleb(self.decimals) for limit in _LIMITS[self.unit])
        return math.ceil(low) - 1, math.ceil(target) - 1, math.floor(high), math.floor(very_high)


def range_of(number: int, limits: tuple[int, ...]) -> int:
    """0 (very low) to 4 (very high): the range of a number of the scale with these limits."""
    return bisect_left(limits, number)
