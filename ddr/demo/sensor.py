"""A simulated glucose sensor: sampling with a drifting clock, values at its limits, short gaps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ddr.demo.curves import glucose_at

MMOL = 18.0156  # mg/dL per mmol/L of glucose
GAP_EVERY, GAP_LENGTH = 864, 6  # readings: one in three days, of half an hour

Value = float | str  # "L" and "U": outside the sensor's range
Sample = tuple[int, Value]  # instant in milliseconds, value


@dataclass(frozen=True)
class GlucoseSensor:
    """One sensor from its start on. `drift_ppm`: how much its clock runs slow."""

    seed: int
    start_ms: int
    unit: str  # mg/dL or mmol/L
    period_ms: int = 300_000
    drift_ppm: int = 90
    lower: int = 40  # mg/dL
    upper: int = 400

    @property
    def decimals(self) -> int:
        """Decimal places of its values."""
        return 0 if self.unit == "mg/dL" else 1

    @property
    def limits(self) -> dict[str, float]:
        """Its measuring range in its own unit."""
        return {"lower": self.shown(self.lower), "upper": self.shown(self.upper)}

    def shown(self, mg_dl: float) -> float:
        """A value in the sensor's unit and precision."""
        return round(mg_dl) if self.unit == "mg/dL" else round(mg_dl / MMOL, 1)

    def samples(self, until_ms: int) -> Iterator[Sample]:
        """Its readings from its start to `until_ms`, each at its own second. Repeatable."""
        return (self._sample(n) for n in range(self._count(until_ms)) if not self._interrupted(n))

    def missing(self, until_ms: int) -> Iterator[Sample]:
        """The readings up to `until_ms` that were lost, newest first."""
        return (self._sample(n) for n in reversed(range(self._count(until_ms))) if self._interrupted(n))

    @property
    def _real_period_ms(self) -> float:
        return self.period_ms * (1 + self.drift_ppm / 1e6)

    def _count(self, until_ms: int) -> int:
        """The number of readings up to `until_ms`, including lost ones."""
        return int((until_ms - self.start_ms) / self._real_period_ms) + 1

    def _sample(self, n: int) -> Sample:
        at_ms = int(self.start_ms + n * self._real_period_ms) // 1000 * 1000
        return at_ms, self._value(glucose_at(self.seed, at_ms))

    def _value(self, mg_dl: float) -> Value:
        if mg_dl < self.lower:
            return "L"
        return "U" if mg_dl > self.upper else self.shown(mg_dl)

    def _interrupted(self, n: int) -> bool:
        """Whether the phone was out of reach for so long that this reading was lost, as happens now and then."""
        block, rest = divmod(n, GAP_EVERY)
        return 0 <= rest - _gap(self.seed, block) < GAP_LENGTH


@lru_cache(maxsize=4096)
def _gap(seed: int, block: int) -> int:
    return random.Random(f"gap {seed} {block}").randrange(GAP_EVERY - GAP_LENGTH)
