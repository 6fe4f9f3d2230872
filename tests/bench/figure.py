"""One figure of the report: its value, the floor from the same run, and its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound of a figure's ratio, or of its value where it has no floor. `promised`: to miss it is an error.

    Promises are of what does not depend on the machine; any other target that is missed is shown.
    """

    least: float | None = None
    most: float | None = None
    promised: bool = False

    def met(self, found: float) -> bool:
        """Whether `found` is within the bounds."""
        return (self.least is None or found >= self.least) and (self.most is None or found <= self.most)

    def __str__(self) -> str:
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.most is None else f"≤ {self.most:g}"


NONE = Goal()


@dataclass(frozen=True)
class Figure:
    """`ratio` is that of `value` to `floor`, measured in turns; `spread` is (largest - smallest) / median of it."""

    name: str
    text: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    target: Goal = NONE
    spread: float | None = None
    more: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.target.met(self.value if self.ratio is None else self.ratio)

    @property
    def broken(self) -> bool:
        """Whether a promise is not kept."""
        return self.target.promised and not self.met

    def as_json(self) -> dict[str, Any]:
        """Its entry in the file of figures."""
        told = {"name": self.name, "value": self.value, "unit": self.unit, "floor": self.floor, "ratio": self.ratio}
        return {**told, "target": str(self.target) or None, "spread": self.spread, "met": self.met}

    def cells(self) -> tuple[str, str, str, str, str]:
        """What the table says: name, value, floor, ratio with its spread, target."""
        spread = "" if self.spread is None else f" (±{self.spread / 2:.0%})"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (
            f"{self.text} ({self.name})",
            f"{number(self.value)} {self.unit}{f', {self.more}' if self.more else ''}",
            "" if self.floor is None else number(self.floor),
            ratio + spread,
            f"{self.target}{'' if self.met else ' missed'}",
        )


def number(value: float) -> str:
    """With three digits at least."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.3g}"


def against(
    name: str,
    text: str,
    unit: str,
    values: Sequence[float],
    floors: Sequence[float],
    target: Goal = NONE,
    more: str = "",
) -> Figure:
    """A figure from rounds in which value and floor were measured one after the other: medians, of the ratios too."""
    ratios = [value / floor for value, floor in zip(values, floors, strict=True)]
    return Figure(name, text, median(values), unit, median(floors), median(ratios), target, spread_of(ratios), more)


def spread_of(values: Sequence[float]) -> float:
    """(Largest - smallest) / median; 0 for a single one."""
    return (max(values) - min(values)) / median(values) if median(values) else 0.0
