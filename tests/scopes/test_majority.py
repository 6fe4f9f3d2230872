"""The day on which a person comes of age."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.scopes.majority import of_age_born_by
from ddr.series.days import midnight

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("today", "before", "born"),
    [
        (date(2026, 11, 26), 0, date(2008, 11, 26)),
        (date(2026, 11, 26), 1, date(2008, 11, 25)),  # a millisecond before midnight in Berlin
        (date(2028, 2, 29), 0, date(2010, 2, 28)),
        (date(2026, 3, 1), 0, date(2008, 3, 1)),  # born on 29 February 2008: of age today, not yesterday
        (date(2026, 3, 1), 1, date(2008, 2, 28)),
    ],
)
def test_the_birthday_counts_from_its_beginning(today: date, before: int, born: date) -> None:
    assert of_age_born_by(midnight(today, BERLIN) - before, 18, BERLIN) == born


@given(st.dates(date(1990, 1, 1), date(2080, 1, 1)), st.integers(1, 30))
def test_nobody_becomes_a_minor_again(today: date, years: int) -> None:
    now_ms = midnight(today, BERLIN)
    assert of_age_born_by(now_ms, years, BERLIN) <= of_age_born_by(now_ms + 86_400_000, years, BERLIN)
