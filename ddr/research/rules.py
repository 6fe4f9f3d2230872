"""Rules against singling somebody out: any distinguishing feature is shared by at least `least` people, or is left out.

These features are: each code and unit, the number of weeks, of single measurements in a week, each age group, the
highest and the lowest value. What these rules do not cover is in docs/research.md.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import median
from typing import TypeVar

from ddr.research.weeks import HALF_HOURS, Continuous, Singles, coarse

Person = TypeVar("Person", bound=Hashable)
Week = TypeVar("Week")
UNKNOWN = ""


def enough(people: Mapping[Person, Sequence[Week]], least: int) -> dict[Person, list[Week]]:
    """Those who have any weeks; nobody when they are fewer than `least`."""
    found = {one: list(weeks) for one, weeks in people.items() if weeks}
    return found if len(found) >= least else {}


def same_lengths(
    people: Mapping[Person, Sequence[Week]], least: int, most: int, draw: Random
) -> dict[Person, list[Week]]:
    """At most `most` random weeks of each person, in order; at least `least` people share each number of weeks."""
    ordered = sorted(people, key=lambda one: -len(people[one]))
    kept: dict[Person, list[Week]] = {}
    if not ordered:
        return kept
    for group in _groups(ordered, least):
        length = min(most, *(len(people[one]) for one in group))
        for one in group:
            chosen = sorted(draw.sample(range(len(people[one])), length))
            kept[one] = [people[one][at] for at in chosen]
    return kept


def _groups(ordered: Sequence[Person], least: int) -> list[Sequence[Person]]:
    """Groups of `least` in order; the last one also has the rest."""
    count = max(1, len(ordered) // least)
    starts = [number * least for number in range(count)]
    return [ordered[start:end] for start, end in zip(starts, [*starts[1:], len(ordered)], strict=True)]


def same_counts(people: Mapping[Person, Sequence[Singles]], least: int, draw: Random) -> dict[Person, list[Singles]]:
    """Limits the measurements per week: no week has more than the fullest weeks of at least `least` people."""
    fullest = sorted((max(len(week.items) for week in weeks) for weeks in people.values() if weeks), reverse=True)
    most = fullest[least - 1] if len(fullest) >= least else 0
    return {one: [_at_most(week, most, draw) for week in weeks] for one, weeks in people.items()}


def _at_most(week: Singles, most: int, draw: Random) -> Singles:
    if len(week.items) <= most:
        return week
    return replace(week, items=tuple(week.items[at] for at in sorted(draw.sample(range(len(week.items)), most))))


def shared_groups(bands: Mapping[Person, str], least: int) -> dict[Person, str]:
    """Groups of at least `least` people; smaller ones become UNKNOWN, with as many others as that group then needs."""
    found = dict(bands)
    while True:
        sizes = Counter(found.values())
        small = [band for band, size in sizes.items() if size < least]
        named = sorted((band for band in sizes if band != UNKNOWN), key=lambda band: (sizes[band], band))
        if not small or not named:
            return found
        gone = next((band for band in named if band in small), named[0])
        found = {one: UNKNOWN if band == gone else band for one, band in found.items()}


Bounds = tuple[float, float]


def bounds(extremes: Iterable[Bounds], least: int) -> Bounds | None:
    """Bounds computed from the lowest and highest number of each person, such that `least` people reach each bound.

    None when there are no such bounds: people have too little in common.
    """
    each = list(extremes)
    if len(each) < least:
        return None
    low = sorted(low for low, _ in each)[least - 1]
    high = sorted((high for _, high in each), reverse=True)[least - 1]
    return (low, high) if low <= high else None


def within(number: float, limits: Bounds) -> float:
    """The number, or the bound beyond which it lies."""
    return min(max(number, limits[0]), limits[1])


def safe_continuous(
    people: Mapping[Person, Sequence[Continuous]], least: int, most: int, draw: Random
) -> dict[Person, list[Continuous]]:
    """What all rules leave of continuous weeks. Each half hour of the week has its own bounds.

    So whoever knows somebody's very high value on a Tuesday at two finds at least `least` people. Where people have too
    little in common, all get one value.
    """
    kept = same_lengths(enough(people, least), least, most, draw)
    if not kept:
        return {}
    limits = []
    for slot in range(HALF_HOURS):
        own = [[week.numbers[slot] for week in weeks] for weeks in kept.values()]
        middle = coarse(median(number for numbers in own for number in numbers))
        limits.append(bounds(((min(numbers), max(numbers)) for numbers in own), least) or (middle, middle))
    return {
        one: [replace(week, numbers=array("d", map(within, week.numbers, limits))) for week in weeks]
        for one, weeks in kept.items()
    }


Key = tuple[str, str]
"""Code and unit of a value."""


def safe_singles(
    people: Mapping[Person, Sequence[Singles]], least: int, most: int, draw: Random
) -> dict[Person, list[Singles]]:
    """What all rules leave of weeks of single measurements; each code and unit has its own bounds."""
    found = {one: list(weeks) for one, weeks in people.items()}
    while True:
        limits = _limits(found, least)
        known = {one: _written(weeks, limits) for one, weeks in found.items()}
        left = same_counts(same_lengths(enough(known, least), least, most, draw), least, draw)
        if left == found:
            return left
        found = left


def _limits(people: Mapping[Person, Sequence[Singles]], least: int) -> dict[Key, Bounds]:
    """The bounds of each code and unit that has any; others are left out."""
    own: dict[Key, list[Bounds]] = {}
    for weeks in people.values():
        mine: dict[Key, list[float]] = {}
        for week in weeks:
            for _, values in week.items:
                for code, unit, number in values:
                    mine.setdefault((code, unit), []).append(number)
        for key, numbers in mine.items():
            own.setdefault(key, []).append((min(numbers), max(numbers)))
    found = {key: bounds(extremes, least) for key, extremes in own.items()}
    return {key: limits for key, limits in found.items() if limits is not None}


def _written(weeks: Iterable[Singles], limits: Mapping[Key, Bounds]) -> list[Singles]:
    """The weeks that contain anything within these bounds."""
    found = []
    for week in weeks:
        items = []
        for hour, values in week.items:
            shown = tuple(
                (code, unit, within(number, limits[code, unit]))
                for code, unit, number in values
                if (code, unit) in limits
            )
            items += [(hour, shown)] if shown else []
        found += [replace(week, items=tuple(items))] if items else []
    return found
