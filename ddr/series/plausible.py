"""What values of one code can be: outside it a number is a mistake (a placeholder, an error code, another unit)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plausible:
    """Numbers in `unit`. Below `least` and above `most` a value is refused; it is kept with a warning when it is not
    from `usual_least` to `usual_most`. `other` is the same for the other unit that such values are measured in."""

    unit: str
    least: float
    usual_least: float
    usual_most: float
    most: float
    other: Plausible | None = None

    def usual(self, value: float) -> bool:
        """True for a value that nobody doubts."""
        return self.usual_least <= value <= self.usual_most

    def problem(self, value: float) -> str | None:
        """Why a value is refused, or None.

        A unit in which values are whole numbers and that has another one with decimals tells the two apart.
        """
        if not self.least <= value <= self.most:
            return self.refusal(value)
        if self._whole and value != int(value) and not self.usual(value) and self._elsewhere(value):
            return self.refusal(value)
        return None

    def warning(self, value: float) -> str | None:
        """What to say about a value that is kept and unusual, or None."""
        if self.usual(value):
            return None
        low, high = _text(self.usual_least), _text(self.usual_most)
        return f"value is unusual: expected are {low} to {high} {self.unit}{self._hint(value)}"

    def refusal(self, value: float) -> str:
        """Why a value cannot be."""
        return f"value cannot be: possible are {_text(self.least)} to {_text(self.most)} {self.unit}{self._hint(value)}"

    def other_unit(self, values: Sequence[float]) -> str | None:
        """The sentence about values that are all unusual here, some of them impossible, and all usual in the other
        unit; None when they are not."""
        if self.other is None or not values or any(map(self.usual, values)) or not all(map(self.other.usual, values)):
            return None
        if not any(self.problem(value) for value in values):
            return None
        return f"These values look like {self.other.unit}, but are sent as {self.unit}; nothing was stored"

    @property
    def _whole(self) -> bool:
        return self.other is not None and self.other.most < self.most

    def _elsewhere(self, value: float) -> bool:
        return self.other is not None and self.other.usual(value)

    def _hint(self, value: float) -> str:
        if self.other is not None and self._elsewhere(value):
            return f"; it looks like a value in {self.other.unit}"
        return ""


def _text(value: float) -> str:
    return f"{value:g}"
