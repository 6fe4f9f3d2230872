"""FHIR date, dateTime and instant texts to and from milliseconds since 1970 in UTC (FHIR R4 datatypes.html)."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from datetime import UTC, date, datetime
from functools import lru_cache

from ddr.durations import BEGIN_MS, DAY_MS, END_MS, MINUTE_MS
from ddr.series.instants import instant_ms

_EPOCH_DAY = date(1970, 1, 1).toordinal()

_DATE_TIME = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>0[1-9]|1[0-2])(?:-(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"(?:T(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]|60)(?:\.(?P<fraction>[0-9]{1,18}))?)?"
    r"(?P<zone>Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?)?)?)?"
)


def instant(ms: int) -> str:
    """A FHIR instant with milliseconds, as used in meta.lastUpdated: "2026-11-22T10:00:00.000Z"."""
    return f"{_seconds(ms // 1000)}.{ms % 1000:03d}Z"


def told_instant(ms: int) -> str:
    """The same for the time of a clock, however wrong: the nearest instant that has a date."""
    return instant(min(max(ms, BEGIN_MS), END_MS - 1))


def date_time(ms: int) -> str:
    """A FHIR dateTime in UTC, with a fraction only if needed: "2026-11-22T10:00:00Z"."""
    return instant(ms) if ms % 1000 else _seconds(ms // 1000) + "Z"


@lru_cache(maxsize=8192)
def _seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def parse_instant(text: str) -> int:
    """Milliseconds of a FHIR instant or a dateTime with seconds and time zone; further digits are cut off.

    Raises ValueError.
    """
    ms = instant_ms(text)
    if ms is None:
        raise ValueError("not an instant")
    return ms


def parse_date_time(text: str) -> tuple[int, int]:
    """First and last millisecond of a FHIR dateTime (year to fraction of a second; a time needs seconds and zone).

    Days, months and years without a zone are in UTC. Raises ValueError.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None or (match["hour"] is not None and (match["second"] is None or match["zone"] is None)):
        raise ValueError("not a FHIR dateTime")
    return _range(match)


def parse_search_date(text: str) -> tuple[int, int]:
    """As parse_date_time for the value of a date search, in which seconds and zone (then UTC) may be missing.

    FHIR R4 search.html#date. Raises ValueError.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a FHIR date or dateTime")
    return _range(match)


def _range(match: re.Match[str]) -> tuple[int, int]:
    """First and last millisecond that the text covers. Raises ValueError for days that do not exist."""
    year, month = int(match["year"]), int(match["month"] or 1)
    first = date(year, month, int(match["day"] or 1))
    start = (first.toordinal() - _EPOCH_DAY) * DAY_MS
    if match["month"] is None:
        return start, start + (365 + isleap(year)) * DAY_MS - 1
    if match["day"] is None:
        return start, start + monthrange(year, month)[1] * DAY_MS - 1
    if match["hour"] is None:
        return start, start + DAY_MS - 1
    offset, width = _time(match)
    return start + offset, start + offset + width - 1


def _time(match: re.Match[str]) -> tuple[int, int]:
    """Milliseconds from midnight UTC of the given date, and the width of the precision used."""
    zone = match["zone"]
    minutes = int(match["hour"]) * 60 + int(match["minute"])
    if zone and zone != "Z":
        offset = int(zone[1:3]) * 60 + int(zone[4:6])
        minutes -= offset if zone[0] == "+" else -offset
    if match["second"] is None:
        return minutes * MINUTE_MS, MINUTE_MS
    fraction = match["fraction"] or ""
    ms = minutes * MINUTE_MS + int(match["second"]) * 1000 + int((fraction + "000")[:3])
    return ms, 10 ** max(0, 3 - len(fraction))
