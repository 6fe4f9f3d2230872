"""Dates on the pages: local time, and dates beyond any calendar."""

from __future__ import annotations

import pytest

from ddr.fhir.instants import parse_date_time
from ddr.patient_pages.dates import clock_time, day, given_day, moment, short_moments, told_times


@pytest.mark.parametrize(
    ("text", "german", "english"),
    [
        ("2026-11-22T23:30:00Z", "23. November 2026, 00:30 Uhr", "23 November 2026, 00:30"),
        ("2026-07-01T12:00:00Z", "1. Juli 2026, 14:00 Uhr", "1 July 2026, 14:00"),
    ],
)
def test_instants_are_told_in_local_time(text: str, german: str, english: str) -> None:
    ms = parse_date_time(text)[0]
    assert (moment("de", ms), moment("en", ms)) == (german, english)


def test_a_device_may_last_for_ever() -> None:
    first, last = parse_date_time("0001-01-01")[0], parse_date_time("9999-12-31")[1]
    assert (day("de", first), day("de", last)) == ("2. Januar 1", "31. Dezember 9999")
    assert day("en", 2**62) == "31 December 9999"


@pytest.mark.parametrize(("given", "german", "english"), [
    ("2026-12-31", "31. Dezember 2026", "31 December 2026"),
    ("2026-12", "Dezember 2026", "December 2026"),
    ("2026", "2026", "2026"),
    ("2026-12-31T23:30:00Z", "1. Januar 2027", "1 January 2027"),
    ("2026-12-31T23:30:00+01:00", "31. Dezember 2026", "31 December 2026"),
])  # fmt: skip
def test_a_date_that_a_device_bears_is_told_as_it_is(given: str, german: str, english: str) -> None:
    last_ms = parse_date_time(given)[1]
    assert (given_day("de", given, last_ms), given_day("en", given, last_ms)) == (german, english)


def test_a_span_within_a_minute_is_one_time() -> None:
    first = parse_date_time("2026-11-22T18:13:05Z")[0]
    spans = [told_times("de", first, first + 1000 * seconds) for seconds in (0, 50, 60)]
    assert spans == ["19:13", "19:13", "19:13–19:14"]
    assert short_moments("de", first, first + 1000) == "22.11.2026, 19:13"
    assert short_moments("en", first, first + 60_000) == "22 Nov 2026, 19:13 – 22 Nov 2026, 19:14"


def test_the_hour_that_comes_twice_says_which_of_both_it_is() -> None:
    first = parse_date_time("2026-10-25T00:30:00Z")[0]
    later = first + 3_600_000
    assert told_times("de", first, later) == "02:30 Sommerzeit–02:30 Winterzeit"
    assert told_times("en", first, first + 1_800_000) == "02:30 summer time–02:00 winter time"
    assert short_moments("de", later, later) == "25.10.2026, 02:30 Winterzeit"
    assert told_times("de", first - 3_600_000, later + 3_600_000) == "01:30–03:30"
    assert (clock_time("de", later), clock_time("en", later)) == ("02:30 Uhr Winterzeit", "02:30 winter time")
    assert moment("de", first) == "25. Oktober 2026, 02:30 Uhr Sommerzeit"
    spring = parse_date_time("2027-03-28T00:59:00Z")[0]
    assert told_times("de", spring, spring + 60_000) == "01:59–03:00"
