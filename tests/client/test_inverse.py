"""The client's series are exactly the inverse of the recorder's, both ways: readings → chunks → readings → chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ddr.client.series import Reading as Read
from ddr.client.series import readings_of
from ddr.fhir.instants import date_time
from ddr.series.epoch import Chunk
from ddr.series.packing import ERROR, HIGH, LOW, Reading, encode
from ddr.series.slots import data, place, winners
from ddr.series.view import readings, view
from tests.series.model import GRID, HOUR, Recorder, reading_lists

DECIMALS = 1
LIMITS = {LOW: ("L", Decimal("2.2")), HIGH: ("U", Decimal("22.2"))}


def observation(chunk: Chunk, now_ms: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The stored row of a chunk, and what a DiGA is sent of it."""
    row = {
        **asdict(chunk),
        "period_ms": GRID.period_ms,
        "span_ms": GRID.span_ms,
        "decimals": DECIMALS,
        "until_ms": None,
        "buffering_ms": 24 * HOUR,
    }
    shown = view(row, now_ms)
    sampled = {
        "origin": {"value": 0, "code": "mmol/L"},
        "period": GRID.period_ms,
        "lowerLimit": 2.2,
        "upperLimit": 22.2,
        "data": shown.data,
    }
    found = {
        "id": "c",
        "status": shown.status,
        "code": {"coding": [{"code": "105272-9"}]},
        "effectivePeriod": {"start": date_time(shown.start_ms), "end": date_time(shown.end_ms)},
        **({"valueSampledData": sampled} if shown.data else {}),
    }
    return row, found


def raw_of(one: Read) -> int:
    """The value as the recorder keeps it."""
    if one.sign:
        return LOW if one.sign == "L" else HIGH
    assert one.value is not None
    return int(one.value.scaleb(DECIMALS))


@given(reading_lists, st.sampled_from([0, 48 * HOUR]))
def test_series_and_client_are_inverse(sent: list[Reading], later_ms: int) -> None:
    recorder = Recorder()
    recorder.upload(sent)
    for chunk in recorder.chunks.values():
        row, shown = observation(chunk, max(time for time, _ in sent) + later_ms)
        found = list(readings_of(shown, {}))
        # What was read is what was sent, at the times of its slots.
        stored = winners(readings(row), chunk.start_ms, GRID.period_ms)
        expected = {slot: raw for slot, (_, raw) in stored.items() if raw != ERROR}
        read = {(int(one.time.timestamp() * 1000) - chunk.start_ms) // GRID.period_ms: raw_of(one) for one in found}
        assert read == expected
        assert all((one.sign, one.limit) == LIMITS[raw_of(one)] for one in found if one.sign)
        # And sent again it is the chunk that was shown.
        if found:
            again = [(int(one.time.timestamp() * 1000), raw_of(one)) for one in found]
            slots, _ = place(*encode(again, chunk.start_ms, GRID.period_ms), GRID.period_ms)
            text = str(shown["valueSampledData"]["data"])
            assert data(slots, DECIMALS) == text[: len(data(slots, DECIMALS))]
            assert set(text[len(data(slots, DECIMALS)) :].split()) <= {"E"}
