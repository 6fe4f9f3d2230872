"""FHIR times as ranges of milliseconds, with datetime alone (FHIR R4 datatypes.html#dateTime)."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from datetime import UTC, datetime, timedelta, tzinfo

from ddr.conform.exchange import Json
from ddr.durations import DAY_MS

_INSTANT = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]\d{2}:\d{2})"
)
_DATE_TIME = re.compile(rf"\d{{4}}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?|{_INSTANT.pattern}")
_SECONDS = slice(17, 19)
_FINER = re.compile(r"\.\d{3}\d*[1-9]")
Range = tuple[int, int]


def is_instant(text: object) -> bool:
    """Whether `text` is a FHIR instant."""
    return isinstance(text, str) and _INSTANT.fullmatch(text) is not None and _is_of_the_calendar(text)


def is_date_time(text: object) -> bool:
    """Whether `text` is a FHIR dateTime."""
    return isinstance(text, str) and _DATE_TIME.fullmatch(text) is not None and _is_of_the_calendar(text)


def _is_of_the_calendar(text: str) -> bool:
    """Whether this day and this zone exist."""
    try:
        span(text)
    except ValueError:
        return False
    return True


def milliseconds(text: str) -> int:
    """Milliseconds of an instant, or a dateTime with a time; a leap second counts as the next second. Raises
    ValueError."""
    if text[_SECONDS] == "60":  # unknown to Python
        return milliseconds(f"{text[: _SECONDS.start]}59{text[_SECONDS.stop :]}") + 1000
    return _ms(datetime.fromisoformat(text))


def span(text: str) -> Range:
    """First and last millisecond that a dateTime covers; days without a zone in UTC. Raises ValueError."""
    if "T" in text:
        at = milliseconds(text)
        return at, at + (0 if "." in text else 999)
    year, month, day = (*map(int, text.split("-")), 0, 0)[:3]
    first = _ms(datetime(year, month or 1, day or 1, tzinfo=UTC))
    days = 1 if day else monthrange(year, month)[1] if month else 365 + isleap(year)
    return first, first + days * DAY_MS - 1


def effective(observation: Json) -> Range | None:
    """First and last millisecond of an Observation, None without a time. An open end lies far away."""
    if isinstance(moment := observation.get("effectiveDateTime"), str):
        return span(moment)
    period = observation.get("effectivePeriod")
    if not isinstance(period, dict):
        return None
    first = span(period["start"])[0] if "start" in period else 0
    return first, span(period["end"])[1] if "end" in period else 1 << 60


def updated(resource: Json) -> int:
    """meta.lastUpdated in milliseconds. Raises ValueError, LookupError."""
    return milliseconds(resource["meta"]["lastUpdated"])


def is_finer(text: object) -> bool:
    """Whether a time is more precise than milliseconds, as on many servers."""
    return isinstance(text, str) and _FINER.search(text) is not None


def written(ms: int, zone: tzinfo = UTC) -> str:
    """An instant for a query, without a zero fraction."""
    moment = datetime.fromtimestamp(ms // 1000, zone).replace(microsecond=ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")


def _ms(moment: datetime) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
