"""Merging changes versions exactly when what is seen changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ddr.series.chain import cut
from ddr.series.epoch import Chunk, Epoch, empty_chunk
from ddr.series.merge import Merge, merge
from ddr.series.packing import ERROR, Reading
from ddr.series.recut import recut
from ddr.series.resettle import resettled
from ddr.series.status import WITHDRAWN, State
from tests.series.model import GRID, HOUR, MINUTE, START, Recorder, epoch_of, reading_lists

PERIOD = 5 * MINUTE
NOW = START + HOUR


@given(reading_lists)
def test_a_repeated_upload_writes_nothing(readings: list[Reading]) -> None:
    recorder = Recorder()
    recorder.upload(readings)
    again = recorder.upload(readings)
    assert again == Merge([], recorder.chunks[max(recorder.chunks)], set(), set())


def test_a_late_reading_writes_only_its_chunk() -> None:
    recorder = Recorder()
    recorder.upload([(START + hour * HOUR, hour) for hour in range(5)])
    merged = recorder.upload([(START + HOUR + PERIOD, 7)], NOW)
    assert [(chunk.k, chunk.version) for chunk in merged.changed] == [(1, 2)]
    assert merged.tail == recorder.chunks[4]
    assert (merged.accepted, merged.hidden, merged.rivals) == ({(START + HOUR + PERIOD, 7)}, set(), set())


def test_an_earlier_first_reading_moves_the_chunks_after_it() -> None:
    readings = [(START + hour * HOUR + 20_000, hour) for hour in range(1, 4)]
    recorder, whole = Recorder(), Recorder()
    recorder.upload(readings)
    starts = [chunk.start_ms - START for chunk in recorder.chunks.values()]
    recorder.upload([(START + 3000, 9)], NOW)
    whole.upload([*readings, (START + 3000, 9)])
    assert recorder.content() == whole.content()
    assert starts[0] == 0
    assert recorder.chunks[0].start_ms == START + 3000


def test_a_hidden_reading_is_stored_and_leaves_the_version() -> None:
    recorder = Recorder()
    recorder.upload([(START, 1), (START + PERIOD, 2)])
    merged = recorder.upload([(START + 1000, 3)], NOW)
    assert merged.hidden == {(START + 1000, 3)}
    [chunk] = merged.changed
    assert (chunk.version, chunk.filled, len(chunk.vals)) == (1, 2, 6)


def test_a_winner_that_comes_later_changes_the_version() -> None:
    recorder = Recorder()
    recorder.upload([(START, 1), (START + PERIOD + 2000, 2)])
    merged = recorder.upload([(START + PERIOD, 3)], NOW)
    assert merged.hidden == set()
    assert merged.changed[0].version == 2


def test_content_after_final_by_time_is_amended() -> None:
    recorder = Recorder()
    recorder.upload([(START, 1)])
    late = START + 26 * HOUR
    [chunk] = recorder.upload([(START + PERIOD, 2)], late).changed
    assert (chunk.status, chunk.version, chunk.updated_ms) == ("a", 3, late)


def test_data_for_a_placeholder_that_was_seen_continues_its_version() -> None:
    seen = merge(epoch_of(), (), [(START + 30 * MINUTE, 1)], START + 31 * MINUTE).changed[0]
    unseen = merge(epoch_of(), (), [(START + 10 * MINUTE, 1)], START + 11 * MINUTE).changed[0]
    assert (seen.version, unseen.version) == (2, 1)


def test_a_gap_keeps_the_state_its_placeholder_had() -> None:
    merged = merge(epoch_of(), (), [(START, 1), (START + 3 * HOUR, 2)], START + 3 * HOUR)
    gaps = merged.changed[1:3]
    appears = 5 * MINUTE + 15 * MINUTE
    # nothing of the series was stored, so the placeholders of all three hours had been visible
    assert [(gap.k, gap.status, gap.filled) for gap in gaps] == [(1, "p", 0), (2, "p", 0)]
    assert [gap.updated_ms - gap.start_ms for gap in gaps] == [appears, appears]
    assert merged.changed[0].version == 2


def test_a_chunk_left_without_readings_stays_as_an_empty_one() -> None:
    recorder = Recorder()
    recorder.upload([(START + 20 * MINUTE, 1), (START + 58 * MINUTE, 2)], START)
    assert [len(chunk.vals) for chunk in recorder.chunks.values()] == [2, 2]
    # moves the start of chunk 0, which then reaches far enough for both readings
    recorder.upload([(START + 4 * MINUTE, 3)], NOW)
    assert [(chunk.filled, chunk.version) for chunk in recorder.chunks.values()] == [(3, 2), (0, 2)]
    assert recorder.chunks[1].start_ms == START + 64 * MINUTE


def test_covering_makes_empty_chunks_and_final_ones_when_all_was_sent() -> None:
    sent = START + 3 * HOUR
    stored = merge(epoch_of(), (), [(START, 1)], NOW).changed
    epoch = epoch_of(GRID, stored[-1], complete_until_ms=sent)
    merged = merge(epoch, stored, (), sent, cover_ms=sent)
    assert [(chunk.k, chunk.status, chunk.version) for chunk in merged.changed] == [
        (0, "f", 3),
        (1, "f", 2),
        (2, "f", 2),
    ]


def test_a_cut_ends_the_chunk_with_a_new_version() -> None:
    stored = merge(epoch_of(), (), [(START, 1)], START).changed
    former = epoch_of(GRID, stored[-1])
    epoch = epoch_of(replace(GRID, until_ms=START + 20 * MINUTE), stored[-1])
    merged = recut(epoch, former, stored, [(START, 1)], NOW)
    assert [(chunk.status, chunk.version) for chunk in merged.changed] == [("f", 2)]
    again = recut(epoch, epoch, merged.changed, [(START, 1)], NOW)
    assert again.changed == []


def test_a_cut_of_a_chunk_that_was_final_by_time_amends_it() -> None:
    stored = merge(epoch_of(), (), [(START, 1)], START).changed
    former = epoch_of(GRID, stored[-1])
    epoch = epoch_of(replace(GRID, until_ms=START + 20 * MINUTE), stored[-1])
    merged = recut(epoch, former, stored, [(START, 1)], START + 30 * HOUR)
    assert [(chunk.status, chunk.version) for chunk in merged.changed[:2]] == [("a", 3), ("e", 3)]


def test_the_cut_of_the_merge_is_the_cut_of_the_chain() -> None:
    readings = [(START + minute * MINUTE, minute) for minute in range(0, 400, 7)]
    merged = merge(epoch_of(), (), readings, NOW)
    assert [(chunk.k, chunk.start_ms) for chunk in merged.changed] == [(c.k, c.start_ms) for c in cut(readings, GRID)]


def test_a_reading_in_the_last_half_slot_of_an_empty_first_chunk() -> None:
    """A first chunk without readings takes one up to its very end: half a slot more than one with readings."""
    late, inside = (START + HOUR + 3 * MINUTE, 1), (START + HOUR - 24_000, 2)
    recorder, whole = Recorder(), Recorder()
    recorder.upload([late])
    assert recorder.chunks[0].times == b""
    recorder.upload([inside])
    whole.upload([late, inside])
    assert recorder.content() == whole.content()


@pytest.mark.parametrize("by_event", [False, True])
def test_a_withdrawn_chunk_is_live_again_as_soon_as_readings_can_come(by_event: bool) -> None:
    """Else it would appear by time, beside what is stored under its id, and its version would go back."""
    running, cut_ms = epoch_of(), START + HOUR
    chunks = {
        chunk.k: chunk for chunk in merge(running, (), [(START + hour * HOUR, hour) for hour in (0, 1)], START).changed
    }
    over = replace(
        running, grid=replace(GRID, until_ms=cut_ms), expected_until_ms=cut_ms, tail_k=1, tail_start_ms=cut_ms
    )
    cut_off = recut(over, replace(running, tail_k=1, tail_start_ms=cut_ms), list(chunks.values()), [(START, 0)], START)
    chunks |= {chunk.k: chunk for chunk in cut_off.changed}
    assert chunks[1].status == WITHDRAWN
    over, again = (replace(epoch, tail_k=0, tail_start_ms=START) for epoch in (over, running))
    if by_event:
        merged = recut(again, over, list(chunks.values()), [(START, 0)], START)
    else:
        merged = resettled(again, replace(again, expected_until_ms=cut_ms), list(chunks.values()), START)
    (one,) = [chunk for chunk in merged.changed if chunk.k == 1]
    assert (one.status != WITHDRAWN, one.version, one.start_ms) == (True, chunks[1].version + 1, cut_ms)
    assert merged.tail == one


def test_a_withdrawn_first_chunk_is_live_again_where_it_is_expected_now() -> None:
    """It began with its first reading, after the first place; that an end lies between the two is no reason to wait."""
    gone = empty_chunk(0, START + 4 * MINUTE, State("e", 2, START))
    former, epoch = (replace(epoch_of(), expected_until_ms=START + end * MINUTE) for end in (0, 2))
    now_ms = START + MINUTE  # nothing is overdue
    for merged in (recut(epoch, former, [gone], (), now_ms), resettled(epoch, former, [gone], now_ms)):
        (one,) = merged.changed
        assert (one.k, one.start_ms, one.state) == (0, START, State("a", 3, now_ms))


def test_a_withdrawn_chunk_is_live_again_when_the_place_after_the_tail_comes_before_the_end() -> None:
    """A late reading moves the chunks, and with them where the next one is expected."""
    chunks = merge(epoch_of(), (), [(START + 24 * MINUTE, 1), (START + 64 * MINUTE, 2)], START).changed
    assert [chunk.start_ms - START for chunk in chunks] == [4 * MINUTE, 64 * MINUTE]
    end_ms = START + 122 * MINUTE
    gone = empty_chunk(2, START + 124 * MINUTE, State("e", 2, START))
    epoch = replace(epoch_of(tail=chunks[1]), expected_until_ms=end_ms)
    assert [chunk.k for chunk in merge(epoch, [*chunks, gone], [(START + 70 * MINUTE, 3)], START).changed] == [1]
    merged = merge(epoch, [*chunks, gone], [(START + 21 * MINUTE, 3)], START)
    assert merged.tail is not None and merged.tail.k == 2 and merged.tail.start_ms < end_ms
    assert (merged.tail.status, merged.tail.version) == ("a", 3)


def test_a_place_that_a_late_reading_moves_beyond_the_end_is_none() -> None:
    """As when all readings had come before the end was known, whatever their order."""
    ended = replace(epoch_of(), grid=replace(GRID, until_ms=START + 61 * MINUTE), expected_until_ms=START + 61 * MINUTE)
    late, later = (START + 4 * MINUTE, 3), (START + 20 * MINUTE, 1)
    stored = recut(ended, None, [], [later], NOW).changed
    assert [(chunk.k, chunk.start_ms - START) for chunk in stored] == [(0, 0), (1, HOUR)]
    merged = merge(replace(ended, tail_k=1, tail_start_ms=START + HOUR), stored, [late], NOW)
    assert [(chunk.k, chunk.filled, chunk.status) for chunk in merged.changed] == [(0, 2, "f"), (1, 0, "e")]
    assert merged.tail == merged.changed[0]
    assert [chunk.k for chunk in recut(ended, None, [], [late, later], NOW).changed] == [0]


def test_an_empty_chunk_beyond_the_expiry_counts_only_before_readings() -> None:
    """A device may measure on after its expiry."""
    epoch = replace(epoch_of(), expected_until_ms=START + 61 * MINUTE)
    stored = recut(epoch, None, [], [(START + 20 * MINUTE, 1)], NOW).changed
    stored = [*stored, empty_chunk(1, START + HOUR, State("p", 1, NOW))]
    epoch = replace(epoch, tail_k=1, tail_start_ms=START + HOUR)
    late: Reading = (START + 4 * MINUTE, 3)
    assert [(chunk.k, chunk.status) for chunk in merge(epoch, stored, [late], NOW).changed] == [(0, "p"), (1, "e")]
    with_more = merge(epoch, stored, [late, (START + 3 * HOUR, 4)], NOW)
    assert [(chunk.k, chunk.filled, chunk.status) for chunk in with_more.changed] == [
        (0, 2, "p"),
        (1, 0, "p"),
        (2, 1, "p"),
    ]


def test_a_withdrawn_first_chunk_is_live_again_when_readings_come_after_it() -> None:
    gone = empty_chunk(0, START, State("e", 2, START))
    now_ms = START + 2 * HOUR
    merged = merge(epoch_of(tail=gone), [gone], [(now_ms, 5)], now_ms)
    assert (merged.changed[0].k, merged.changed[0].state) == (0, State("a", 3, now_ms))
    assert [(chunk.k, chunk.filled) for chunk in merged.changed] == [(0, 0), (1, 0), (2, 1)]


def test_where_only_withdrawn_chunks_are_left_a_series_goes_on_from_its_last_live_one() -> None:
    last = merge(epoch_of(), (), [(START + 23 * MINUTE, 1)], START).changed[0]
    gone = empty_chunk(1, START + HOUR, State("e", 2, START))
    merged = merge(epoch_of(tail=last), [gone], [(START + 2 * HOUR, 5)], START + 3 * HOUR)
    assert last.start_ms == START + 3 * MINUTE
    one = merged.changed[0]
    assert (one.k, one.start_ms, one.version) == (1, START + 65 * MINUTE, 3)


def test_a_failed_reading_at_the_end_is_a_new_version_only_where_it_is_seen() -> None:
    """What a chunk lacks at its end is written as E once it is final; while it is preliminary it ends before that."""
    first = merge(epoch_of(), (), [(START, 1)], START).changed[0]
    late = START + 72 * HOUR
    failed = merge(epoch_of(tail=first), [first], [(START + PERIOD, ERROR)], late).changed[0]
    assert (failed.filled, failed.version, failed.status) == (2, first.version, "p")
    running = merge(epoch_of(tail=first), [first], [(START + PERIOD, ERROR)], START).changed[0]
    assert (running.filled, running.version, running.status) == (2, first.version + 1, "p")


def test_a_failed_reading_after_the_last_slot_of_a_cut_chunk_is_seen() -> None:
    """The chunk ends within its seventh slot, before the time of that."""
    cut_off = epoch_of(replace(GRID, until_ms=START + 29 * MINUTE))
    first = merge(cut_off, (), [(START, 1)], START).changed[0]
    failed = merge(cut_off, [first], [(START + 28 * MINUTE + 59_000, ERROR)], START + HOUR).changed[0]
    assert (first.status, failed.version) == ("f", first.version + 1)
    failed = merge(cut_off, [first], [(START + 24 * MINUTE, ERROR)], START + HOUR).changed[0]
    assert failed.version == first.version


def test_the_history_of_a_new_sensor_is_final_not_amended() -> None:
    now = START + 50 * HOUR
    epoch = replace(epoch_of(), registered_ms=now)
    merged = merge(epoch, [], [(START + 5 * MINUTE, 100), (START + 2 * HOUR, 110)], now)
    assert [(chunk.status, chunk.version) for chunk in merged.changed] == [("f", 1)] * 3


@example([(START + 10_000, 1)], [(START + 1000, 2)], START + HOUR + 20 * MINUTE + 5000)
@given(reading_lists, reading_lists, st.integers(START, START + 12 * HOUR))
def test_whatever_a_merge_shows_otherwise_is_as_new_as_the_merge(
    first: list[Reading], second: list[Reading], now_ms: int
) -> None:
    """Chunks that lack readings, too: one that follows the tail may move to where it is overdue already."""
    recorder = Recorder()
    recorder.upload(first, START)

    def shown() -> dict[int, Chunk]:
        epoch = epoch_of(tail=max(recorder.chunks.values(), key=lambda chunk: chunk.k))
        empty = {chunk.k: chunk for chunk in epoch.placeholders(now_ms)}
        return {k: _as_shown(epoch, chunk, now_ms) for k, chunk in (empty | recorder.chunks).items()}

    before = shown()
    recorder.upload(second, now_ms)
    for k, chunk in shown().items():
        assert chunk.updated_ms == now_ms or _same(chunk, before[k])


def _as_shown(epoch: Epoch, chunk: Chunk, now_ms: int) -> Chunk:
    status, version, updated_ms = epoch.shown(chunk, now_ms)
    return replace(chunk, status=status, version=version, updated_ms=updated_ms)


def _same(one: Chunk, other: Chunk) -> bool:
    """As a DiGA sees them: readings that are stored and not shown do not count."""
    return (one.start_ms, one.status, one.version, one.updated_ms) == (
        other.start_ms, other.status, other.version, other.updated_ms,
    )  # fmt: skip


def test_readings_of_one_instant_are_rivals_and_others_of_one_slot_are_not() -> None:
    recorder = Recorder()
    recorder.upload([(START, 2), (START + PERIOD, 4)])
    merged = recorder.upload([(START, 1), (START, 3), (START + PERIOD + 1000, 5)], NOW)
    assert merged.hidden == {(START, 3), (START + PERIOD + 1000, 5)}
    assert merged.rivals == {(START, 1), (START, 2), (START, 3)}


def test_nothing_new_changes_nothing() -> None:
    assert merge(epoch_of(), (), (), NOW) == Merge([], None, set(), set())
    stored = merge(epoch_of(), (), [(START, 1), (START + HOUR, 2)], START).changed
    gone = replace(stored[1], status=WITHDRAWN, filled=0, times=b"", vals=b"")
    assert merge(epoch_of(GRID, stored[0]), [stored[0], gone], (), NOW) == Merge([], stored[0], set(), set())
    assert merge(epoch_of(GRID, stored[1]), stored, [(START, 1)], NOW).tail == stored[1]
    sent = epoch_of(GRID, stored[1], complete_until_ms=NOW)  # stored with the upload that says so
    assert merge(sent, stored, [(START, 1)], NOW) == Merge([], stored[1], set(), set())


def test_the_tail_is_the_last_chunk_whether_it_was_written_or_not() -> None:
    first = merge(epoch_of(), (), [(START + hour * HOUR, hour) for hour in range(3)], START)
    assert [chunk.k for chunk in first.changed] == [0, 1, 2] and first.tail == first.changed[2]
    last = first.changed[2]
    second = merge(epoch_of(GRID, last), first.changed, [(START + 3 * HOUR, 3)], START)
    assert [chunk.k for chunk in second.changed] == [3] and second.tail == second.changed[0]


@pytest.mark.parametrize("withdrawn", [False, True])
def test_what_is_covered_already_stays_the_tail(withdrawn: bool) -> None:
    """Of chunk number 1 only the place counts: neither it nor the one before it is cut again."""
    second = merge(epoch_of(), (), [(START, 1), (START + HOUR, 2)], START).changed[1]
    anchor = replace(second, status=WITHDRAWN, filled=0, times=b"", vals=b"") if withdrawn else second
    merged = merge(epoch_of(GRID, second), [anchor], (), NOW, cover_ms=NOW)
    assert merged == Merge([], None if withdrawn else second, set(), set())
