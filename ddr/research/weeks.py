"""A person's readings as calendar weeks, from Monday to Sunday, coarse enough to be given away.

A continuous week is complete or left out: one value for each half hour, so that no gap tells whose it is. A week of
single measurements contains what was measured in it, with the hour and without the day.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

HALF_HOURS = 7 * 48
DIGITS = 2  # significant digits of a value
_MONDAY = date(1970, 1, 5).toordinal()

Week = TypeVar("Week")
Value = tuple[str, str, float]
"""Code, unit, number."""


@dataclass(frozen=True)
class Continuous:
    """A complete week: a number for each half hour from Monday 0:00 on, by the clock of the zone."""

    number: int
    numbers: array[float]


@dataclass(frozen=True)
class Singles:
    """A week of single measurements, ordered by time: the hour of the day, and the values measured together."""

    number: int
    items: tuple[tuple[int, tuple[Value, ...]], ...]


class Cut(NamedTuple, Generic[Week]):
    """Weeks of a person, in order; how many others have gaps, and how many earlier exports have taken."""

    weeks: list[Week]
    gaps: int
    before: int


def week_number(day: date) -> int:
    """Weeks from the first Monday of 1970 to a calendar day."""
    return (day.toordinal() - _MONDAY) // 7


def monday(number: int) -> date:
    """The first day of a week."""
    return date.fromordinal(_MONDAY) + timedelta(weeks=number)


def coarse(number: float | Decimal) -> float:
    """A number with two significant digits: 187 is 190, 87.4 is 87, 5.63 is 5.6."""
    given = float(number)
    return round(given, DIGITS - 1 - math.floor(math.log10(abs(given)))) if given else 0.0


def whole_weeks(readings: Iterable[tuple[int, float]], zone: tzinfo, taken: set[int]) -> Cut[Continuous]:
    """The complete weeks of ordered readings (instant in milliseconds, number), without those in `taken`.

    The first reading in a half hour counts. The week in which clocks go forward lacks an hour, so it is not complete.
    """
    found: dict[int, dict[int, float]] = {}
    for at_ms, number in readings:
        at = datetime.fromtimestamp(at_ms / 1000, zone)
        slot = at.weekday() * 48 + at.hour * 2 + at.minute // 30
        found.setdefault(week_number(at.date()), {}).setdefault(slot, coarse(number))
    fresh = {week: slots for week, slots in sorted(found.items()) if week not in taken}
    whole = [
        Continuous(week, array("d", (slots[slot] for slot in range(HALF_HOURS))))
        for week, slots in fresh.items()
        if len(slots) == HALF_HOURS
    ]
    return Cut(whole, len(fresh) - len(whole), len(found) - len(fresh))


def single_weeks(
    measured: Iterable[tuple[int, tuple[tuple[str, str, Decimal], ...]]], zone: tzinfo, taken: set[int]
) -> Cut[Singles]:
    """The weeks of ordered measurements (instant in milliseconds, values), without those in `taken`."""
    found: dict[int, list[tuple[int, tuple[Value, ...]]]] = {}
    for at_ms, values in measured:
        at = datetime.fromtimestamp(at_ms / 1000, zone)
        coarsened = tuple((code, unit, coarse(number)) for code, unit, number in values)
        found.setdefault(week_number(at.date()), []).append((at.hour, coarsened))
    fresh = [Singles(week, tuple(items)) for week, items in sorted(found.items()) if week not in taken]
    return Cut(fresh, 0, len(found) - len(fresh))
