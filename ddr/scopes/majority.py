"""From which age on a person may no longer be represented as a minor (§ 2, § 187 (2) BGB). Pure."""

from __future__ import annotations

from datetime import date, tzinfo

from ddr.series.days import local_day


def of_age_born_by(now_ms: int, years: int, zone: tzinfo) -> date:
    """Whoever was born on or before this day is of age: the calendar day in `zone`, `years` ago.

    A person is of age from the beginning of the birthday; one born on 29 February, in other years, from 1 March.
    """
    today = local_day(now_ms, zone)
    try:
        return today.replace(year=today.year - years)
    except ValueError:  # 29 February
        return today.replace(year=today.year - years, day=28)
