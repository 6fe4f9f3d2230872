"""What a DiGA sees of chunks and of placeholders."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.grid import Grid, slot_of
from ddr.series.merge import merge
from ddr.series.packing import ERROR, HIGH, LOW, Reading, encode
from ddr.series.slots import text, winners
from ddr.series.view import REMEMBERED_BYTES, ChunkView, _remembered, placeholder, readings, view
from tests.series.model import GRID, HOUR, MINUTE, START, epoch_of, reading_lists

PERIOD, DELAY = 5 * MINUTE, 15 * MINUTE
UPLOAD = START + 15 * MINUTE  # before any placeholder
SENSOR = {"period_ms": PERIOD, "span_ms": HOUR, "decimals": 0, "buffering_ms": 24 * HOUR, "until_ms": None}
EPOCH: dict[str, Any] = SENSOR | {"from_ms": START, "tail_k": None, "tail_start_ms": None}


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> None:
    """Each test writes its texts itself: one that is remembered hides a fault."""
    _remembered.cache_clear()


def row_of(found: list[Reading], until_ms: int | None = None) -> dict[str, Any]:
    """The first chunk of these readings as a row, written at UPLOAD."""
    grid = Grid(START, PERIOD, HOUR, until_ms)
    chunk = merge(epoch_of(grid), (), found, UPLOAD).changed[0]
    return SENSOR | {"until_ms": until_ms, "patient_id": "x"} | asdict(chunk)


def test_a_running_chunk_shows_its_whole_span_and_what_it_has() -> None:
    row = row_of([(START, 100), (START + 10 * MINUTE, LOW)])
    end = START + HOUR - 1000
    assert view(row, START + HOUR) == ChunkView(START, end, "preliminary", 1, UPLOAD, "100 E L")


def test_a_chunk_final_by_time_has_every_slot() -> None:
    row = row_of([(START, 100), (START + 10 * MINUTE, HIGH)])
    seen = view(row, START + 26 * HOUR)
    settles = START + HOUR - 1000 + 24 * HOUR
    assert (seen.status, seen.version, seen.updated_ms) == ("final", 2, settles + 1)
    assert seen.data == "100 E U" + " E" * 9


def test_a_full_chunk_is_final_at_once() -> None:
    seen = view(row_of([(START + slot * PERIOD, slot) for slot in range(12)]), START + HOUR)
    assert seen.status == "final"
    assert seen.data == "0 1 2 3 4 5 6 7 8 9 10 11"


def test_a_chunk_that_was_cut_is_short_and_final() -> None:
    until = START + 17 * MINUTE + 300
    seen = view(row_of([(START, 1), (START + PERIOD, 2)], until), START + HOUR)
    assert seen == ChunkView(START, START + 17 * MINUTE - 1000, "final", 1, UPLOAD, "1 2 E E")


@pytest.mark.parametrize("fraction_ms", [0, 1, 955])
def test_a_chunk_cut_within_a_second_has_no_sample_after_its_period(fraction_ms: int) -> None:
    until = START + 15 * MINUTE + fraction_ms  # the next series starts in this second
    seen = view(row_of([(START, 1), (START + PERIOD, 2)], until), START + HOUR)
    assert seen == ChunkView(START, START + 15 * MINUTE - 1000, "final", 1, UPLOAD, "1 2 E")


def test_a_chunk_cut_at_once_still_has_one_slot_and_an_end_not_before_its_start() -> None:
    seen = view(row_of([(START, 1)], START + 500), START + HOUR)
    assert (seen.start_ms, seen.end_ms, seen.data) == (START, START, "1")


def test_equal_bytes_of_other_sensors_and_states_are_other_texts() -> None:
    row = row_of([(START, 100), (START + PERIOD, 101)])
    assert view(row, START + HOUR).data == "100 101"
    assert view(row | {"decimals": 1}, START + HOUR).data == "10.0 10.1"
    assert view(row | {"status": "f"}, START + HOUR).data == "100 101" + " E" * 10
    assert view(row | {"status": "f", "span_ms": 2 * HOUR}, START + HOUR).data == "100 101" + " E" * 22
    assert view(row | {"status": "f", "period_ms": 10 * MINUTE}, START + HOUR).data == "100 101" + " E" * 4


def test_chunks_too_long_to_be_remembered_are_shown_too() -> None:
    found = [(START + slot * 5000, slot % 400) for slot in range(REMEMBERED_BYTES // 2 + 1)]
    times, vals = encode(found, START, 5000)
    row = row_of([(START, 1)]) | {"times": times, "vals": vals, "period_ms": 5000, "span_ms": 3 * HOUR}
    assert view(row, START + HOUR).data == " ".join(str(raw) for _, raw in found)


def test_exact_times_are_kept_for_the_export() -> None:
    found = [(START + 123, 1), (START + 456, 2), (START + PERIOD - 789, 3)]
    assert readings(row_of(found)) == found


@given(reading_lists, st.integers(0, 60) | st.none())
def test_every_sample_stands_where_its_time_says(found: list[Reading], minutes: int | None) -> None:
    until = None if minutes is None else START + (minutes + 1) * MINUTE
    inside = [(time, raw) for time, raw in found if time >= START and (until is None or time < until)]
    if not inside:
        return
    row = row_of(inside, until)
    for now in (START + HOUR, START + 26 * HOUR):
        seen = view(row, now)
        if seen.data is None:
            assert not row["times"]
            continue
        samples = seen.data.split(" ")
        shown = winners(readings(row), seen.start_ms, PERIOD)
        assert all(samples[slot] == text(raw, 0) for slot, (_, raw) in shown.items())
        assert all(sample == "E" for slot, sample in enumerate(samples) if slot not in shown)
        assert all(abs(time - seen.start_ms - slot * PERIOD) <= PERIOD // 2 for slot, (time, _) in shown.items())
        slots_before_end = -(-((until or START + 2 * HOUR) - seen.start_ms) // PERIOD)
        most = max(1, min(12, slots_before_end))
        last = max(shown, default=-1) + 1
        assert len(samples) == (last if seen.status == "preliminary" else max(most, last))


def test_a_placeholder_appears_when_a_reading_is_overdue_and_settles() -> None:
    appears = START + PERIOD + DELAY
    assert placeholder(EPOCH, 0, appears - 1, DELAY) is None
    row = placeholder(EPOCH, 0, appears, DELAY)
    assert row is not None
    end = START + HOUR - 1000
    assert view(row, appears) == ChunkView(START, end, "preliminary", 1, appears, None)
    settled = view(row, START + 26 * HOUR)
    assert settled == ChunkView(START, end, "final", 2, end + 24 * HOUR + 1, " ".join("E" * 12))


def test_placeholders_follow_the_tail() -> None:
    epoch = EPOCH | {"tail_k": 3, "tail_start_ms": START + 7000}
    starts = {k: row["start_ms"] - START for k in range(8) if (row := placeholder(epoch, k, START + 4 * HOUR, DELAY))}
    assert starts == {4: HOUR + 7000, 5: 2 * HOUR + 7000, 6: 3 * HOUR + 7000}


@pytest.mark.parametrize("name", ["until_ms", "sensor_ended_ms", "device_ended_ms", "expiration_ms"])
def test_no_placeholder_starts_after_the_end(name: str) -> None:
    ended = EPOCH | {name: START + 2 * HOUR}
    found = [k for k in range(5) if placeholder(ended, k, START + 50 * HOUR, DELAY)]
    assert found == [0, 1]


def test_explicit_errors_at_the_end_are_shown_while_preliminary() -> None:
    assert view(row_of([(START, 1), (START + PERIOD, ERROR)]), START + HOUR).data == "1 E"


def test_slots_of_the_model_are_those_of_the_grid() -> None:
    assert GRID.slots == 12
    assert slot_of(GRID.span_ms - PERIOD, PERIOD) == 11


def test_nothing_is_expected_from_a_sensor_before_it_could_send_after_registration() -> None:
    registered = START + 30 * HOUR
    epoch = EPOCH | {"registered_ms": registered}
    assert placeholder(epoch, 0, registered + DELAY - 1, DELAY) is None
    row = placeholder(epoch, 0, registered + DELAY, DELAY)
    assert row is not None
    assert row["updated_ms"] == registered + DELAY


def test_the_chunk_in_which_the_device_expires_is_final_with_it() -> None:
    expires = START + 20 * MINUTE
    row = row_of([(START, 1)]) | {"expiration_ms": expires}
    before, after = view(row, expires), view(row, expires + 1)
    assert (before.status, before.version) == ("preliminary", 1)
    assert (after.status, after.version, after.updated_ms, after.end_ms) == ("final", 2, expires + 1, before.end_ms)
    assert view(row | {"expiration_ms": START}, expires + 1).status == "preliminary"  # it had expired before


def test_a_withdrawn_chunk_has_no_data() -> None:
    row = row_of([(START, 1)]) | {"status": "e", "times": b"", "vals": b"", "until_ms": START + HOUR}
    found = view(row, START + 50 * HOUR)
    assert (found.status, found.data, found.start_ms, found.end_ms) == ("entered-in-error", None, START, START)
