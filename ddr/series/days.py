"""Calendar days of a time zone, including days of 23 and 25 hours; instants in milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def local_day(ms: int, zone: tzinfo) -> date:
    """The calendar day of an instant."""
    return datetime.fromtimestamp(ms // 1000, zone).date()


def midnight(day: date, zone: tzinfo) -> int:
    """The instant at which a calendar day begins."""
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // _MILLISECOND


def as_local(ms: int, zone: tzinfo) -> int:
    """The instant at which clocks in `zone` show the time that clocks in UTC show at `ms`."""
    shown = _EPOCH + timedelta(milliseconds=ms)
    return (shown.replace(tzinfo=zone) - _EPOCH) // _MILLISECOND
