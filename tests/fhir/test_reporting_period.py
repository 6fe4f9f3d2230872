"""The reporting period: defaults, days in the time zone, and its bounds."""

from __future__ import annotations

from datetime import UTC, date
from zoneinfo import ZoneInfo

import pytest

from ddr.fhir.instants import parse_instant
from ddr.fhir.outcome import FhirError
from ddr.fhir.reporting_period import END, START, Period, reporting_period

BERLIN = ZoneInfo("Europe/Berlin")
DAY = 86_400_000
NOW = parse_instant("2026-11-22T10:00:00Z")
LONG_AGO = 0


def period(start: str | None = None, end: str | None = None, floor_ms: int = LONG_AGO, now_ms: int = NOW) -> Period:
    given = {name: text for name, text in ((START, start), (END, end)) if text is not None}
    return reporting_period(given, BERLIN, now_ms, floor_ms)


def test_without_parameters_fourteen_days_that_end_today() -> None:
    found = period()
    assert (found.first, found.last) == (date(2026, 11, 9), date(2026, 11, 22))
    assert found.from_ms == parse_instant("2026-11-08T23:00:00Z")
    assert found.until_ms == NOW + 1


def test_the_default_begins_at_midnight_on_either_side_of_a_change_of_clocks() -> None:
    found = period(now_ms=parse_instant("2026-10-30T10:00:00Z"))  # clocks went back on 25 October
    assert found.from_ms == parse_instant("2026-10-16T22:00:00Z")


def test_days_are_those_of_the_time_zone() -> None:
    found = period("2026-08-01", "2026-08-31")
    assert (found.first, found.last) == (date(2026, 8, 1), date(2026, 8, 31))
    assert found.from_ms == parse_instant("2026-07-31T22:00:00Z")
    assert found.until_ms == parse_instant("2026-08-31T22:00:00Z")


def test_months_and_years() -> None:
    assert period("2026-02", "2026-02") == period("2026-02-01", "2026-02-28")
    assert period("2025", "2025") == period("2025-01-01", "2025-12-31")


def test_instants_are_taken_as_they_are() -> None:
    found = period("2026-08-01T00:00:00Z", "2026-08-31T23:59:59Z")
    assert found.from_ms == parse_instant("2026-08-01T00:00:00Z")
    assert found.until_ms == parse_instant("2026-09-01T00:00:00Z")  # the last second is part of it


def test_a_period_may_end_within_the_day_month_or_year_in_which_it_begins() -> None:
    end = "2026-08-01T10:00:00+02:00"
    assert period("2026-08-01", end) == period("2026-08", end) == period("2026-08-01T00:00:00+02:00", end)
    assert period("2026", "2026-08-01").until_ms == parse_instant("2026-08-01T22:00:00Z")


@pytest.mark.parametrize("zone", ["Z", "+00:00"])
def test_whole_days_of_utc_are_reported_as_these(zone: str) -> None:
    start, end = f"2026-08-01T00:00:00{zone}", f"2026-08-31T23:59:59{zone}"
    found = period(start, end)
    assert (found.first, found.last, found.zone) == (date(2026, 8, 1), date(2026, 8, 31), UTC)
    assert period(end=end).from_ms == parse_instant("2026-08-18T00:00:00Z")
    assert period(start, f"2026-09-01T00:00:00{zone}").zone == UTC


@pytest.mark.parametrize("end", ["2026-08-31T21:59:59Z", "2026-08-31T21:59:59.999Z", "2026-08-31T20:12:00Z"])
def test_days_of_the_time_zone_may_be_given_in_utc(end: str) -> None:
    found = period("2026-07-31T22:00:00.000Z", end)
    assert (found.first, found.last, found.zone) == (date(2026, 8, 1), date(2026, 8, 31), BERLIN)
    assert period(end=end).from_ms == parse_instant("2026-08-17T22:00:00Z")


def test_any_other_period_has_those_of_the_time_zone() -> None:
    found = period("2026-08-01T00:00:00Z", "2026-08-31T23:59:59+02:00")
    assert (found.first, found.last, found.zone) == (date(2026, 8, 1), date(2026, 8, 31), BERLIN)
    assert period("2026-08-01", "2026-08-31T22:00:00Z").last == date(2026, 9, 1)
    assert period().zone == BERLIN


def test_only_an_end() -> None:
    found = period(end="2026-11-15")
    assert (found.first, found.last) == (date(2026, 11, 2), date(2026, 11, 15))


def test_only_a_start() -> None:
    found = period(start="2026-10-30")
    assert (found.first, found.last, found.until_ms) == (date(2026, 10, 30), date(2026, 11, 22), NOW + 1)


def test_the_future_has_no_readings() -> None:
    assert period("2026-11-20", "2027-01-01") == period("2026-11-20")


def test_nor_has_what_is_older_than_the_historic_period() -> None:
    found = period("2026-01-01", floor_ms=NOW - 30 * DAY)
    assert (found.from_ms, found.first) == (NOW - 30 * DAY, date(2026, 10, 23))


@pytest.mark.parametrize(("start", "end"), [("2027-01-01", None), (None, "2020-01-01"), ("2020-01-01", "2020-02-01")])
def test_a_period_without_data_is_empty(start: str | None, end: str | None) -> None:
    found = period(start, end, floor_ms=NOW - 30 * DAY)
    assert found.from_ms == found.until_ms


@pytest.mark.parametrize("text", ["0001", "0001-01-01", "9999", "9999-12-31", "9999-12-31T23:59:59-14:00"])
def test_ends_of_time(text: str) -> None:
    period(start=text)
    period(end=text, floor_ms=NOW - 30 * DAY)


def test_an_end_before_the_start() -> None:
    with pytest.raises(FhirError) as caught:
        period("2026-08-02", "2026-08-01")
    assert (caught.value.status, caught.value.details_code) == (400, "MSG_PARAM_INVALID")
    period("2026-08-01", "2026-08-01")
    found = period("2026-08-01T00:00:00.000Z", "2026-08-01T00:00:00.000Z")
    assert found.until_ms - found.from_ms == 1
