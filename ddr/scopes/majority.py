"""From which day on nobody may be represented because of age (§ 2, § 187 (2) BGB). Pure."""

from __future__ import annotations

from datetime import date, tzinfo

from ddr.series.days import local_day


def of_age_born_by(now_ms: int, years: int, zone: tzinfo) -> date:
    """Whoever was born on this day or before it is of age: the day `years` ago of the calendar in `zone`.

    One is of age from the beginning of the birthday on; with a birthday on 29 February, in other years, of 1 March.
    """
    today = local_day(now_ms, zone)
    try:
        return today.replace(year=today.year - years)
    except ValueError:  # 29 February
        return today.replace(year=today.year - years, day=28)
