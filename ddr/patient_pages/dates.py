"""Dates as patients in Germany read them, in German and English."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Berlin")
GERMAN = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
ENGLISH = "January February March April May June July August September October November December"
MONTHS = {lang: tuple(names.split()) for lang, names in (("de", GERMAN), ("en", ENGLISH))}

# Before clocks are set back, and after that.
CLOCKS = {"de": ("Sommerzeit", "Winterzeit"), "en": ("summer time", "winter time")}

UNREADABLE = "unreadable-day"  # in the query after a form with an invalid day
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)  # the first and last days that can be chosen

# A device without an end may be registered with the last possible day; days beyond these cannot be shown.
EARLIEST_MS = -62_135_510_400_000  # 2 January of year 1
LATEST_MS = 253_402_290_000_000  # 31 December 9999


def _local(ms: int) -> datetime:
    return datetime.fromtimestamp(min(max(ms, EARLIEST_MS), LATEST_MS) / 1000, ZONE)


def day(lang: str, ms: int) -> str:
    """The local day of the instant `ms`: `22. November 2026` or `22 November 2026`."""
    local = _local(ms)
    return f"{local.day}{'.' if lang == 'de' else ''} {MONTHS[lang][local.month - 1]} {local.year}"


def given_day(lang: str, given: str, ms: int) -> str:
    """The day of a FHIR dateTime whose last instant is `ms`. A date is the same day everywhere, and has no instant.

    A month or a year stays one: `Dezember 2026`.
    """
    if not given or "T" in given:
        return day(lang, ms)
    year, month, on = (*map(int, given.split("-")), 0, 0)[:3]
    parts = (f"{on}{'.' if lang == 'de' else ''}" if on else "", MONTHS[lang][month - 1] if month else "", str(year))
    return " ".join(filter(None, parts))


def time_of_day(ms: int) -> str:
    """The local time of the instant `ms`: `09:05`."""
    return f"{_local(ms):%H:%M}"


def told_time(lang: str, ms: int) -> str:
    """The local time for tables; in the hour that occurs twice in autumn it says which one it is: `02:30
    Sommerzeit`."""
    return time_of_day(ms) + which_clock(lang, ms)


def clock_time(lang: str, ms: int) -> str:
    """The same, for sentences: `09:05 Uhr`, or `02:30 Uhr Sommerzeit`."""
    return f"{time_of_day(ms)}{' Uhr' if lang == 'de' else ''}{which_clock(lang, ms)}"


def which_clock(lang: str, ms: int) -> str:
    """The suffix that tells apart the two hours of the same name in autumn, such as ` Sommerzeit`; else ""."""
    local = _local(ms)
    twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return f" {CLOCKS[lang][local.fold]}" if twice else ""


def told_times(lang: str, first_ms: int, last_ms: int) -> str:
    """From one instant of a day to a later one: `09:05–10:30`; `09:05` when both show the same."""
    return "–".join(dict.fromkeys((told_time(lang, first_ms), told_time(lang, last_ms))))


def short_moment(lang: str, ms: int) -> str:
    """Day and time for tables: `22.11.2026, 11:00` or `22 Nov 2026, 11:00`."""
    local = _local(ms)
    name = f"{local:%d.%m.%Y}" if lang == "de" else f"{local.day} {MONTHS['en'][local.month - 1][:3]} {local.year}"
    return f"{name}, {told_time(lang, ms)}"


def short_moments(lang: str, first_ms: int, last_ms: int) -> str:
    """From one instant to a later one, for tables; only one when both show the same."""
    return " – ".join(dict.fromkeys((short_moment(lang, first_ms), short_moment(lang, last_ms))))


def moment(lang: str, ms: int) -> str:
    """Day and time: `22. November 2026, 11:00 Uhr` or `22 November 2026, 11:00`."""
    return f"{day(lang, ms)}, {clock_time(lang, ms)}"


def written_day(written: str) -> date | None:
    """The chosen day in a form, from a date picker or as people in Germany write it. A day out of range becomes the
    nearest one in range; None for text that is not a day."""
    for pattern in ("%Y-%m-%d", "%d.%m.%Y"):
        with suppress(ValueError):
            return min(max(datetime.strptime(written.strip(), pattern).date(), FIRST_DAY), LAST_DAY)
    return None


def short_day(lang: str, one: date) -> str:
    """A day below a curve: `22.11.` or `22 Nov`."""
    return f"{one:%d.%m.}" if lang == "de" else f"{one.day} {MONTHS['en'][one.month - 1][:3]}"
