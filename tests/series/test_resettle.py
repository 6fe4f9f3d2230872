"""A device's expiration or a sensor's limits change: what DiGA saw stays, and what they now see differently is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ddr.series.epoch import Chunk, Epoch
from ddr.series.merge import Merge, merge
from ddr.series.packing import HIGH, LOW, decode
from ddr.series.reading import Rules
from ddr.series.resettle import resettled, restated
from ddr.series.status import State
from tests.series.model import HOUR, MINUTE, START, epoch_of

FILLED = [(START, 100), (START + HOUR, 110)]  # chunks 0 and 1
SOON = START + 2 * HOUR  # readings can still come: the device keeps them for a day
LIMITS = Rules("mg/dL", 0, 40, 400)
LATER = START + 2 * HOUR + 30 * MINUTE  # chunk 2 is shown empty by now, under the terms before


def stored(now_ms: int = START) -> tuple[Epoch, list[Chunk]]:
    """An epoch with two stored chunks, each with one reading, not final."""
    chunks = merge(epoch_of(), (), FILLED, now_ms).changed
    return epoch_of(tail=chunks[-1]), chunks


def states(merged: Merge) -> list[tuple[int, str, int, int]]:
    return [(chunk.k, *chunk.state) for chunk in merged.changed]


def shown(epoch: Epoch, chunks: Sequence[Chunk], now_ms: int) -> dict[int, State]:
    """What a DiGA sees of each chunk, those by time included."""
    tail = max((chunk for chunk in chunks), key=lambda chunk: chunk.k)
    epoch = replace(epoch, tail_k=tail.k, tail_start_ms=tail.start_ms)
    return {chunk.k: epoch.shown(chunk, now_ms) for chunk in [*chunks, *epoch.placeholders(now_ms)]}


def test_terms_that_change_nothing_write_nothing() -> None:
    epoch, chunks = stored()
    for now_ms in (SOON, LATER):
        merged = resettled(epoch, epoch, chunks, now_ms)
        assert merged == Merge([], chunks[-1], set(), set())


def test_an_expiration_that_has_passed_makes_final_what_was_preliminary() -> None:
    epoch, chunks = stored()
    expired = replace(epoch, expires_ms=START + HOUR + 30 * MINUTE, expected_until_ms=START + HOUR + 30 * MINUTE)
    merged = resettled(expired, epoch, chunks, SOON)
    assert states(merged) == [(1, "f", 2, SOON)], "chunk 0 waits for what the device keeps"
    assert merged.tail == merged.changed[0]
    assert (merged.accepted, merged.hidden, merged.rivals) == (set(), set(), set())


def test_what_was_final_stays_final_when_the_terms_are_longer_again() -> None:
    epoch, chunks = stored()
    expired = replace(epoch, expires_ms=START + HOUR + 30 * MINUTE, expected_until_ms=START + HOUR + 30 * MINUTE)
    merged = resettled(epoch, expired, chunks, SOON)
    settled_ms = START + HOUR + 30 * MINUTE + 1
    assert states(merged) == [(1, "f", 2, settled_ms)], "it becomes stored fact, with its stamp"


def test_an_empty_chunk_of_a_time_from_which_nothing_comes_is_withdrawn() -> None:
    epoch, chunks = stored()
    over = replace(epoch, expected_until_ms=START + 2 * HOUR)
    merged = resettled(over, epoch, chunks, LATER)
    (gone,) = merged.changed
    assert (gone.k, gone.start_ms, gone.last_ms) == (2, START + 2 * HOUR, START + 2 * HOUR - 1)
    assert gone.state == State("e", 2, LATER)
    assert merged.tail == chunks[-1]
    assert 2 not in shown(over, chunks, LATER)


def test_all_is_withdrawn_of_which_nothing_came_and_nothing_will() -> None:
    now_ms = START + 30 * MINUTE  # chunk 0 is shown empty by now
    merged = resettled(replace(epoch_of(), expected_until_ms=START), epoch_of(), [], now_ms)
    assert states(merged) == [(0, "e", 2, now_ms)]
    assert merged.tail is None


def test_a_filled_chunk_is_never_withdrawn() -> None:
    epoch, chunks = stored()
    merged = resettled(replace(epoch, expected_until_ms=START), epoch, chunks, LATER)
    assert [(chunk.k, chunk.status) for chunk in merged.changed] == [(2, "e")]
    alone = resettled(replace(epoch, expected_until_ms=START), epoch, chunks, SOON)
    assert alone.changed == []


def test_an_empty_chunk_that_is_expected_now_is_new() -> None:
    epoch, chunks = stored()
    over = replace(epoch, expected_until_ms=START + 2 * HOUR)
    now_ms = START + 3 * HOUR + 30 * MINUTE
    merged = resettled(epoch, over, chunks, now_ms)
    assert states(merged) == [(2, "p", 1, now_ms), (3, "p", 1, now_ms)]
    assert merged.tail is not None and merged.tail.k == 3
    late = START + 40 * HOUR
    assert (2, "f", 1, late) in states(resettled(epoch, over, chunks, late)), "nobody waits for it any more"


def test_one_that_was_withdrawn_comes_back_under_its_id() -> None:
    epoch, chunks = stored()
    over = replace(epoch, expected_until_ms=START + 2 * HOUR)
    gone = resettled(over, epoch, chunks, LATER).changed
    for now_ms in (LATER + MINUTE, LATER + HOUR):
        merged = resettled(epoch, over, [*chunks, *gone], now_ms)
        assert states(merged)[0] == (2, "a", 3, now_ms)
        assert merged.changed[0].start_ms == START + 2 * HOUR
        assert merged.tail == merged.changed[-1]


def test_withdrawn_ones_before_their_time_come_back_too_and_only_those_that_can_have_readings() -> None:
    """Else they would appear by time under an id that is known."""
    epoch, chunks = stored()
    empty = [
        replace(chunks[1], k=k, start_ms=START + k * HOUR, last_ms=START + k * HOUR - 1, filled=0, times=b"", vals=b"",
                status="e", version=4, updated_ms=LATER)
        for k in (2, 3, 4)
    ]  # fmt: skip
    over = replace(epoch, expected_until_ms=START + 2 * HOUR)
    longer = replace(epoch, expected_until_ms=START + 4 * HOUR)
    merged = resettled(longer, over, [*chunks, *empty], SOON)
    assert states(merged) == [(2, "a", 5, LATER + 1), (3, "a", 5, LATER + 1)]
    assert [chunk.start_ms for chunk in merged.changed] == [START + 2 * HOUR, START + 3 * HOUR]
    assert merged.tail is not None and merged.tail.k == 3
    first = [replace(one, k=one.k - 2, start_ms=START + (one.k - 2) * HOUR) for one in empty[:1]]
    none = replace(epoch_of(), expected_until_ms=START)
    assert states(resettled(epoch_of(), none, first, START)) == [(0, "a", 5, LATER + 1)]


def test_new_limits_are_a_new_version_of_what_shows_them() -> None:
    epoch, chunks = stored()
    merged = restated(epoch, chunks, SOON, LIMITS)
    assert states(merged) == [(0, "p", 2, SOON), (1, "p", 2, SOON)]
    assert (merged.tail, merged.accepted, merged.hidden) == (merged.changed[-1], set(), set())
    late = START + 40 * HOUR
    amended = restated(epoch, chunks, late, LIMITS)
    assert states(amended)[:3] == [(0, "a", 3, late), (1, "a", 3, late), (2, "a", 3, late)]
    assert amended.tail is not None
    assert all(chunk.status in "ap" for chunk in amended.changed)


def test_new_limits_leave_what_is_empty_or_withdrawn() -> None:
    epoch, chunks = stored()
    merged = restated(epoch, chunks, LATER, LIMITS)
    assert [chunk.k for chunk in merged.changed] == [0, 1], "an empty chunk that is not final shows no limits"
    assert merged.tail == merged.changed[-1]
    gone = replace(chunks[0], status="e")
    assert [chunk.k for chunk in restated(epoch, [gone, chunks[1]], SOON, LIMITS).changed] == [1]
    assert restated(epoch_of(), [], START, LIMITS) == Merge([], None, set(), set())


def test_new_limits_leave_an_empty_chunk_between_two_that_show_them() -> None:
    chunks = merge(epoch_of(), (), [(START, 100), (START + 2 * HOUR, 110)], START).changed
    assert [chunk.filled for chunk in chunks] == [1, 0, 1]
    merged = restated(epoch_of(tail=chunks[-1]), chunks, SOON, LIMITS)
    assert [chunk.k for chunk in merged.changed] == [0, 2]


def test_an_empty_chunk_behind_one_that_is_stored_stays_when_its_state_is_its_own() -> None:
    """A chunk that time makes final is stored as such, so that the new version follows the one that was shown."""
    epoch, chunks = stored()
    late = START + 28 * HOUR
    merged = restated(epoch, chunks, late, LIMITS)
    first_empty = next(chunk for chunk in merged.changed if not chunk.filled)
    assert (first_empty.k, first_empty.status, first_empty.version) == (2, "a", 3)
    assert [chunk.k for chunk in merged.changed] == [*range(len(merged.changed))]
    assert all(chunk.status == "a" for chunk in merged.changed)


def test_numbers_beyond_new_limits_are_what_they_would_have_been() -> None:
    readings = [(START, 39), (START, 120), (START + 5 * MINUTE, 401), (START + 5 * MINUTE, 450)]
    chunks = merge(epoch_of(), (), readings, START).changed
    epoch = epoch_of(tail=chunks[-1])
    (chunk,) = restated(epoch, chunks, SOON, LIMITS).changed
    known = [(START, LOW), (START, 120), (START + 5 * MINUTE, HIGH)]
    assert decode(chunk.times, chunk.vals, chunk.start_ms, epoch.grid.period_ms) == known
    (same,) = merge(epoch_of(), (), known, START).changed
    assert (chunk.times, chunk.vals, chunk.filled, chunk.last_ms) == (same.times, same.vals, same.filled, same.last_ms)
