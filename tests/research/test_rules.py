"""The rules hold for any people's data, and keep as much of it as they can."""

from __future__ import annotations

from array import array
from collections import Counter
from datetime import date
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.research.rules import UNKNOWN, enough, safe_continuous, safe_singles, same_lengths, shared_groups
from ddr.research.tables import age
from ddr.research.weeks import (
    HALF_HOURS,
    Continuous,
    Singles,
    coarse,
    monday,
    single_weeks,
    week_number,
    whole_weeks,
)

LEAST = 5
BERLIN = ZoneInfo("Europe/Berlin")
MONDAY_MS = 1_781_474_400_000  # 2026-06-15T00:00+02:00
HALF_HOUR_MS = 1_800_000


@given(st.dictionaries(st.integers(), st.integers(0, 60), max_size=40), st.integers(1, 20), st.randoms())
def test_each_number_of_weeks_is_that_of_enough_people(lengths: dict[int, int], most: int, draw: Random) -> None:
    people = {one: list(range(length)) for one, length in lengths.items()}
    kept = same_lengths(enough(people, LEAST), LEAST, most, draw)
    assert all(count >= LEAST for count in Counter(map(len, kept.values())).values())
    assert all(weeks == sorted(set(weeks)) and set(weeks) <= set(people[one]) for one, weeks in kept.items())
    assert all(0 < len(weeks) <= most for weeks in kept.values())
    with_weeks = [one for one, length in lengths.items() if length]
    assert kept.keys() == (set(with_weeks) if len(with_weeks) >= LEAST else set())


@given(st.lists(st.sampled_from(["0-5", "6-11", "12-17", UNKNOWN]), min_size=LEAST, max_size=60))
def test_each_group_of_age_is_that_of_enough_people(bands: list[str]) -> None:
    found = shared_groups(dict(enumerate(bands)), LEAST)
    assert all(size >= LEAST for size in Counter(found.values()).values())
    assert all(now in (bands[one], UNKNOWN) for one, now in found.items())


def test_groups_that_are_large_enough_stay() -> None:
    bands = dict(enumerate(["6-11"] * 5 + ["12-17"] * 6 + [UNKNOWN] * 7 + ["0-5"]))
    assert Counter(shared_groups(bands, LEAST).values()) == {"6-11": 5, "12-17": 6, UNKNOWN: 8}


VALUES = st.tuples(st.sampled_from(["a", "b", "c"]), st.just("u"), st.integers(1, 300).map(float))
WEEKS = st.lists(st.lists(st.tuples(st.integers(0, 23), st.tuples(VALUES)), max_size=4), max_size=4)


@given(st.dictionaries(st.integers(), WEEKS, max_size=15), st.randoms())
def test_nothing_of_single_measurements_stands_out(people: dict[int, list[list]], draw: Random) -> None:  # type: ignore[type-arg]
    found = {
        one: [Singles(number, tuple(items)) for number, items in enumerate(weeks) if items]
        for one, weeks in people.items()
    }
    kept = safe_singles(found, LEAST, 3, draw)
    assert not kept or len(kept) >= LEAST
    assert all(count >= LEAST for count in Counter(map(len, kept.values())).values())
    fullest = [max(len(week.items) for week in weeks) for weeks in kept.values()]
    assert not kept or fullest.count(max(fullest)) >= LEAST
    own = {
        code: [
            numbers
            for weeks in kept.values()
            if (numbers := [v for week in weeks for _, values in week.items for c, _, v in values if c == code])
        ]
        for code in "abc"
    }
    for people_of_code in own.values():
        assert not people_of_code or len(people_of_code) >= LEAST
        for extreme in (min, max):
            reached = [extreme(each) for each in people_of_code]
            assert not reached or reached.count(extreme(reached)) >= LEAST


@given(st.lists(st.integers(1, 3), min_size=LEAST, max_size=14), st.integers(0, 1000))
def test_no_half_hour_of_a_week_stands_out(lengths: list[int], seed: int) -> None:
    random = Random(seed)
    people = {
        one: [Continuous(n, array("d", (random.randrange(40, 400) for _ in range(HALF_HOURS)))) for n in range(length)]
        for one, length in enumerate(lengths)
    }
    kept = safe_continuous(people, LEAST, 3, random)
    assert kept.keys() == people.keys()
    for slot in range(HALF_HOURS):
        for extreme in (min, max):
            reached = [extreme(week.numbers[slot] for week in weeks) for weeks in kept.values()]
            assert reached.count(extreme(reached)) >= LEAST


@pytest.mark.parametrize(
    ("given", "shown"),
    [(187, 190), (87.4, 87), (5.63, 5.6), (12.34, 12), (0, 0), (-3.25, -3.2), (400, 400), (0.0456, 0.046)],
)
def test_values_have_two_digits(given: float, shown: float) -> None:
    assert coarse(given) == shown


def test_weeks_begin_on_mondays() -> None:
    assert monday(week_number(date(2026, 11, 22))) == date(2026, 11, 16)
    assert monday(week_number(date(2026, 11, 23))) == date(2026, 11, 23)


def test_a_week_is_whole_or_not_there() -> None:
    readings = [(MONDAY_MS + slot * HALF_HOUR_MS + 60_000, 100.0 + slot) for slot in range(2 * HALF_HOURS)]
    cut = whole_weeks(readings, BERLIN, set())
    assert [len(week.numbers) for week in cut.weeks] == [HALF_HOURS, HALF_HOURS]
    assert cut.weeks[0].numbers[0] == 100 and cut.weeks[0].numbers[-1] == coarse(100 + HALF_HOURS - 1)
    del readings[500]
    cut = whole_weeks(readings, BERLIN, set())
    assert (len(cut.weeks), cut.gaps, cut.before) == (1, 1, 0)
    cut = whole_weeks(readings, BERLIN, {week_number(date(2026, 6, 15))})
    assert (len(cut.weeks), cut.gaps, cut.before) == (0, 1, 1)


def test_single_measurements_lose_their_day() -> None:
    at = [MONDAY_MS + hours * 3_600_000 + 1_234_567 for hours in (9, 33, 200)]
    cut = single_weeks([(ms, (("8480-6", "mm[Hg]", Decimal(127)),)) for ms in at], BERLIN, set())
    assert [week.items for week in cut.weeks] == [
        ((9, (("8480-6", "mm[Hg]", 130.0),)), (9, (("8480-6", "mm[Hg]", 130.0),))),
        ((8, (("8480-6", "mm[Hg]", 130.0),)),),
    ]


@pytest.mark.parametrize(
    ("born", "group"),
    [
        (None, UNKNOWN),
        (date(2026, 11, 1), "0-5"),
        (date(2020, 11, 23), "0-5"),
        (date(2020, 11, 22), "6-11"),
        (date(2014, 11, 22), "12-17"),
        (date(2008, 11, 23), "12-17"),
        (date(2008, 11, 22), UNKNOWN),
    ],
)
def test_groups_of_age(born: date | None, group: str) -> None:
    assert age(born, date(2026, 11, 22)) == group
