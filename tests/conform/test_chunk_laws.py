"""The rules for chunks allow what a recorder may choose: span, drift of the sensor's clock, a short end, gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ddr.conform.laws import chunks
from ddr.conform.laws.chunks import Chunk
from ddr.conform.laws.naive import references

BEGIN = datetime(2026, 11, 1, 7, 3, 11, tzinfo=UTC)
LAWS = (chunks.lengths, chunks.preliminary, chunks.overlaps, chunks.grid, chunks.data, chunks.absent)


def observed(span: timedelta, period: timedelta, drift: float = 0, count: int = 4) -> list[Chunk]:
    """Chunks of this span whose starts drift by seconds; the last one is short and final."""
    found = []
    for place in range(count):
        start = BEGIN + place * span + timedelta(seconds=place * drift)
        length = span if place < count - 1 else span / 3
        slots = int(length / period)
        one = {
            "id": str(place),
            "status": "final",
            "effectivePeriod": {
                "start": start.isoformat(),
                "end": (start + length - timedelta(seconds=1)).isoformat(),
            },
            "valueSampledData": {
                "period": period / timedelta(milliseconds=1),
                "data": " ".join("E" if slot % 7 == 3 else "100.0" for slot in range(slots)),
            },
        }
        found.append(chunks.chunk(one))
    return found


@pytest.mark.parametrize("hours", [1, 6, 12, 24, 24 * 7])
@pytest.mark.parametrize("minutes", [1, 5, 15])
@pytest.mark.parametrize("drift", [-11, 0, 17])
def test_each_span_is_good(hours: int, minutes: int, drift: float) -> None:
    found = observed(timedelta(hours=hours), timedelta(minutes=minutes), drift)
    assert [list(law(found)) for law in LAWS] == [[]] * len(LAWS)


def test_what_is_no_liberty() -> None:
    day, five = timedelta(hours=24), timedelta(minutes=5)
    good = observed(day, five)
    short = observed(timedelta(hours=6), five, count=2)[0]
    assert list(chunks.lengths([good[0], short, good[1]]))
    assert list(chunks.overlaps(observed(day, five, drift=-3600)))
    assert list(chunks.grid(observed(day, five, drift=1800)))


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("Device/a", "Device/a"),
        ("https://x.example/fhir/Device/a", "Device/a"),
        ("Device/a/_history/3", "Device/a"),
        ("https://x.example/fhir/Device/a/_history/3", "Device/a"),
        ("#a", "Device/#a"),
        ("#b", "#b"),
    ],
)
def test_references_in_all_their_forms(reference: str, wanted: str) -> None:
    one = {"device": {"reference": reference}, "contained": [{"resourceType": "Device", "id": "a"}]}
    assert list(references(one, "device")) == [wanted]
