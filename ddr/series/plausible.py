"""Which values of one code are plausible; others are mistakes (a placeholder, an error code, another unit)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plausible:
    """Bounds in `unit`. A value below `least` or above `most` is refused. A value outside `usual_least` to `usual_most`
    is kept with a warning. `other` has the bounds of the same values in their other unit."""

    unit: str
    least: float
    usual_least: float
    usual_most: float
    most: float
    other: Plausible | None = None

    def usual(self, value: float) -> bool:
        """True for a value that raises no doubt."""
        return self.usual_least <= value <= self.usual_most

    def problem(self, value: float) -> str | None:
        """Why a value is refused, or None.

        When values are whole numbers in this unit and have decimals in the other one, decimals tell the two apart.
        """
        if not self.least <= value <= self.most:
            return self.refusal(value)
        if self._whole and value != int(value) and not self.usual(value) and self._elsewhere(value):
            return self.refusal(value)
        return None

    def warning(self, value: float) -> str | None:
        """The warning for a value that is kept but unusual, or None."""
        if self.usual(value):
            return None
        low, high = _text(self.usual_least), _text(self.usual_most)
        return f"value is unusual: {low} to {high} {self.unit} is expected{self._hint(value)}"

    def refusal(self, value: float) -> str:
        """The text that says why a value is not possible."""
        return (
            f"value is impossible: {_text(self.least)} to {_text(self.most)} {self.unit} is allowed{self._hint(value)}"
        )

    def other_unit(self, values: Sequence[float]) -> str | None:
        """The sentence about values that are all unusual here, at least one of them impossible, and all usual in the
        other unit; None when that is not so."""
        if self.other is None or not values or any(map(self.usual, values)) or not all(map(self.other.usual, values)):
            return None
        if not any(self.problem(value) for value in values):
            return None
        return f"These values look like {self.other.unit} but were sent as {self.unit}; nothing was stored"

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
