"""Plausible daily curves, pure and repeatable: the same seed and day give the same values."""

from __future__ import annotations

import math
import random
from functools import lru_cache

from ddr.durations import DAY_MS

STEP_MS = 300_000
STEPS = DAY_MS // STEP_MS
MEALS = ((7.0, 75), (12.5, 85), (18.75, 80))  # hour of day, typical rise in mg/dL


@lru_cache(maxsize=4096)
def glucose_day(seed: int, day: int) -> tuple[float, ...]:
    """Tissue glucose in mg/dL, one value per 5 minutes of `day` (days since 1970, UTC)."""
    rng = random.Random(f"glucose {seed} {day}")
    meals = [
        (hour + rng.gauss(0, 0.4), rise * rng.lognormvariate(0, 0.5), rng.uniform(0.6, 1.0)) for hour, rise in MEALS
    ]
    base, dawn, noise, values = rng.gauss(122, 15), rng.gauss(12, 5), 0.0, []
    low_hour, low_depth = rng.uniform(0, 24), rng.choice((0, 0, 35, 70))
    for step in range(STEPS):
        hour = step / 12
        noise = 0.9 * noise + rng.gauss(0, 2)
        food = sum(_rise(hour - at, rise, peak) for at, rise, peak in meals)
        dip = low_depth * math.exp(-(((hour - low_hour) / 0.8) ** 2))
        values.append(base + dawn * math.exp(-(((hour - 6) / 2) ** 2)) + food - dip + noise)
    return tuple(values)


def glucose_at(seed: int, ms: int) -> float:
    """Tissue glucose in mg/dL at an instant."""
    day, rest = divmod(ms, DAY_MS)
    return glucose_day(seed, day)[rest // STEP_MS]


def blood_pressure_at(seed: int, ms: int) -> tuple[int, int]:
    """Systolic and diastolic pressure in mmHg."""
    rng = random.Random(f"pressure {seed} {ms}")
    evening = (ms % DAY_MS) > DAY_MS // 2
    systolic = rng.gauss(131 if evening else 124, 7)
    return round(systolic), round(systolic * rng.gauss(0.64, 0.02))


def peak_flow_at(seed: int, ms: int) -> int:
    """Peak expiratory flow in L/min: lower in the morning, with an occasional worse week."""
    rng = random.Random(f"flow {seed} {ms}")
    week = random.Random(f"flow week {seed} {ms // (7 * DAY_MS)}").choice((0, 0, 0, -60))
    morning = -25 if (ms % DAY_MS) < DAY_MS // 2 else 0
    return round((430 + week + morning + rng.gauss(0, 12)) / 5) * 5


def _rise(hours: float, rise: float, peak: float) -> float:
    """Rise in mg/dL, `hours` after a meal whose effect peaks after `peak` hours."""
    return rise * (hours / peak) * math.exp(1 - hours / peak) if hours > 0 else 0.0
