"""Business days: Monday to Friday without the nationwide German holidays (operational-requirements.md, five days
ahead).

Holidays of single states are business days here, because announcements go to DiGA manufacturers in all of them.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

AHEAD = 5
ZONE = ZoneInfo("Europe/Berlin")  # the time zone in which notices are announced and their days are counted
DAY = timedelta(days=1)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Astronomical Algorithms, chapter 8)."""
    golden = year % 19
    century, of_century = divmod(year, 100)
    leaps, rest = divmod(century, 4)
    shift = (century - (century + 8) // 25 + 1) // 3
    moon = (19 * golden + century - leaps - shift + 15) % 30
    quarter, of_quarter = divmod(of_century, 4)
    weekday = (32 + 2 * rest + 2 * quarter - moon - of_quarter) % 7
    late = (golden + 11 * moon + 22 * weekday) // 451
    month, day = divmod(moon + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


@lru_cache(maxsize=64)
def holidays(year: int) -> frozenset[date]:
    """The nine holidays of all sixteen states: those of state law, and 3 October (Einigungsvertrag, article 2)."""
    sunday = easter(year)
    fixed = ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))
    return frozenset(
        [date(year, *each) for each in fixed] + [sunday + timedelta(days=days) for days in (-2, 1, 39, 50)]
    )


def is_business_day(day: date) -> bool:
    """Monday to Friday and not a holiday."""
    return day.weekday() < 5 and day not in holidays(day.year)


def earliest(announced: datetime) -> datetime:
    """The earliest beginning of maintenance announced now: when AHEAD times 24 hours of business days have passed.

    `announced` carries the time zone whose days count; on other days counting starts with the next business day.
    """
    moment = announced
    while not is_business_day(moment.date()):
        moment = datetime.combine(moment.date() + DAY, time(), moment.tzinfo)
    for _ in range(AHEAD):
        moment += DAY
        while not is_business_day(moment.date()):
            moment += DAY
    return moment
