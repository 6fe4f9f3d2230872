"""Dates on the pages: local time, and what lies beyond any calendar."""

from __future__ import annotations

import pytest

from ddr.fhir.instants import parse_date_time
from ddr.patient_pages.dates import day, moment


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
