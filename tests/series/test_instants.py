"""One reading of RFC 3339 for all interfaces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.instants import instant_ms

NOON = 1_795_345_200_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-22T11:00:00Z", NOON),
        ("2026-11-22t11:00:00z", NOON),
        ("2026-11-22T11:00:00-00:00", NOON),
        ("2026-11-22T10:59:60Z", NOON),
        ("2026-11-22T12:00:00+01:00", NOON),
        ("2026-11-22T11:00:00.123Z", NOON + 123),
        ("2026-11-22T11:00:00.1239999+00:00", NOON + 123),
        ("2026-11-23T01:00:00+14:00", NOON),
        ("2026-11-21T21:00:00-14:00", NOON),
        ("1969-12-31T23:59:59Z", -1000),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000),
    ],
)
def test_what_rfc_3339_has(text: str, ms: int) -> None:
    assert instant_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-22T11:00:00", "2026-11-22T11:00:00-0500", "2026-11-22T11:00:00+00", "2026-11-22T11:00:00,803Z"),
        *(
            "2026-11-22 11:00:00Z",
            "2026-11-22T11:00Z",
            "20261122T110000Z",
            "2026-W47-7T11:00:00Z",
            "2026-02-30T11:00:00Z",
        ),
        *("2026-11-22T24:00:00Z", "2026-11-22T11:00:61Z", "2026-11-22T11:00:00+15:00", "2026-11-22T11:00:00+01:60"),
        *("2026-11-22T11:00:00+14:01", "2026-11-22T11:00:00-14:30", "2026-11-22T11:00:00+20:00"),
        *("0000-01-01T00:00:00Z", "2026-11-22T11:00:00.Z", "２026-11-22T11:00:00Z", "2026-11-22T11:00:00Z ", "", "now"),
        *(None, 5, [], {}, True, 1_795_345_200_000),
    ],
)
def test_what_it_has_not(text: Any) -> None:
    assert instant_ms(text) is None


@given(
    st.datetimes(datetime(1900, 1, 2), datetime(9998, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]),
)
def test_every_moment_in_every_zone(moment: datetime, minutes: int, spec: str) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = local.isoformat(timespec=spec)
    exact = (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert instant_ms(text) == instant_ms(text.lower()) == exact
