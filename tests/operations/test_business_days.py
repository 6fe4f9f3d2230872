"""Business days in Germany."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.operations.business_days import earliest, easter, holidays, is_business_day

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "day",
    ["2024-03-31", "2025-04-20", "2026-04-05", "2027-03-28", "2030-04-21", "2038-04-25", "1961-04-02", "2285-03-22"],
)  # including the earliest and the latest possible one
def test_easter(day: str) -> None:
    assert easter(date.fromisoformat(day).year).isoformat() == day


def test_the_holidays_of_all_germany() -> None:
    assert sorted(day.isoformat() for day in holidays(2027)) == [
        "2027-01-01",
        "2027-03-26",  # Good Friday
        "2027-03-29",  # Easter Monday
        "2027-05-01",
        "2027-05-06",  # Ascension
        "2027-05-17",  # Whit Monday
        "2027-10-03",
        "2027-12-25",
        "2027-12-26",
    ]


@pytest.mark.requirement("OPS-003")
@pytest.mark.parametrize(
    ("announced", "first"),
    [
        ("2026-11-26T10:00", "2026-12-03T10:00"),  # Thursday to Thursday
        ("2026-12-23T09:30", "2026-12-31T09:30"),  # Friday is a holiday
        ("2026-12-24T18:00", "2027-01-04T18:00"),  # three holidays, two of them on weekdays
        ("2026-11-28T12:00", "2026-12-07T00:00"),  # a Saturday counts from Monday on
        ("2027-03-25T08:00", "2027-04-05T08:00"),  # across Easter and the change of the clock
    ],
)
def test_five_business_days_ahead(announced: str, first: str) -> None:
    found = earliest(datetime.fromisoformat(announced).replace(tzinfo=BERLIN))
    assert found.strftime("%Y-%m-%dT%H:%M") == first


@given(st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1)))
def test_five_business_days_lie_between(naive: datetime) -> None:
    announced = naive.replace(tzinfo=BERLIN)
    first = earliest(announced)
    days = [announced.date() + timedelta(days=n) for n in range(1, (first.date() - announced.date()).days + 1)]
    wanted = 5 + (not is_business_day(announced.date()))
    assert sum(map(is_business_day, days)) == wanted
    assert is_business_day(first.date())
