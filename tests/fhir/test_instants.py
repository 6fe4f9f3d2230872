"""FHIR date and time texts against milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.instants import date_time, instant, parse_date_time, parse_instant, parse_search_date

DAY = 86_400_000
NOON = 1_795_348_800_000  # 2026-11-22T12:00:00Z


def test_instants_and_date_times_as_texts() -> None:
    assert instant(NOON) == "2026-11-22T12:00:00.000Z"
    assert instant(NOON + 7) == "2026-11-22T12:00:00.007Z"
    assert date_time(NOON) == "2026-11-22T12:00:00Z"
    assert date_time(NOON + 120) == "2026-11-22T12:00:00.120Z"


@pytest.mark.parametrize(
    ("text", "start", "width"),
    [
        ("2026", NOON - NOON % DAY - 325 * DAY, 365 * DAY),
        ("2024", 1_704_067_200_000, 366 * DAY),
        ("2026-11", NOON - NOON % DAY - 21 * DAY, 30 * DAY),
        ("2024-02", 1_706_745_600_000, 29 * DAY),
        ("2026-11-22", NOON - NOON % DAY, DAY),
        ("9999-12", 253_399_622_400_000, 31 * DAY),
        ("2026-11-22T12:00:00Z", NOON, 1000),
        ("2026-11-22T13:00:00+01:00", NOON, 1000),
        ("2026-11-22T06:30:00-05:30", NOON, 1000),
        ("2026-11-23T02:00:00+14:00", NOON, 1000),
        ("2026-11-22T12:00:00.5Z", NOON + 500, 100),
        ("2026-11-22T12:00:00.050Z", NOON + 50, 1),
        ("2026-11-22T12:00:00.0509Z", NOON + 50, 1),
        ("2026-11-22T11:59:60Z", NOON, 1000),
    ],
)
def test_a_date_covers_all_of_its_precision(text: str, start: int, width: int) -> None:
    assert parse_date_time(text) == (start, start + width - 1)
    assert parse_search_date(text) == (start, start + width - 1)


def test_search_may_omit_seconds_and_zone() -> None:
    assert parse_search_date("2026-11-22T12:00") == (NOON, NOON + 59_999)
    assert parse_search_date("2026-11-22T13:00+01:00") == (NOON, NOON + 59_999)
    assert parse_search_date("2026-11-22T12:00:00") == (NOON, NOON + 999)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000",
        "26",
        "2025-13-01",
        "2025-02-29",
        "2025-00",
        "2025-1-1",
        "2025-01-01T",
        "2025-01-01T24:00:00Z",
        "2025-01-01T10:60:00Z",
        "2025-01-01T10:00:61Z",
        "2025-01-01T10:00:00.Z",
        "2025-01-01T10:00:00+15:00",
        "2025-01-01T10:00:00 01:00",
        "2025-01-01 10:00:00Z",
        "20250101",
        " 2025",
        "2025\n",
        "xx2025",
        "٢٠٢٥",
    ],
)
def test_refused_everywhere(text: str) -> None:
    for parse in (parse_search_date, parse_date_time, parse_instant):
        with pytest.raises(ValueError, match=r".+"):
            parse(text)


@pytest.mark.parametrize("text", ["2026", "2026-11-22", "2026-11-22T12:00", "2026-11-22T12:00:00", "2026-11-22T12:00Z"])
def test_instant_needs_seconds_and_zone(text: str) -> None:
    with pytest.raises(ValueError, match="instant"):
        parse_instant(text)


@pytest.mark.parametrize("text", ["2026-11-22T12:00", "2026-11-22T12:00Z", "2026-11-22T12:00:00"])
def test_date_time_needs_seconds_and_zone(text: str) -> None:
    with pytest.raises(ValueError, match="dateTime"):
        parse_date_time(text)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_round_trip(ms: int) -> None:
    assert parse_instant(instant(ms)) == parse_instant(date_time(ms)) == ms


@given(st.datetimes(min_value=datetime(2, 1, 1)), st.integers(-13 * 60, 14 * 60))
def test_agrees_with_datetime(moment: datetime, offset: int) -> None:
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"
    expected = moment.replace(tzinfo=UTC) - timedelta(minutes=offset)
    ms = (expected - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_instant(moment.isoformat(timespec="milliseconds") + zone) == ms
