"""Appending to a cached tail gives the same bytes and state as merging."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.series.epoch import Chunk
from ddr.series.grid import Grid
from ddr.series.merge import merge
from ddr.series.packing import Reading
from ddr.series.tail import Tail, extended
from tests.series.model import GRID, HOUR, MINUTE, START, Recorder, drifting, epoch_of, reading_lists


def tail_of(recorder: Recorder) -> tuple[Tail | None, Chunk]:
    chunk = recorder.chunks[max(recorder.chunks)]
    return Tail.of(epoch_of(recorder.grid, chunk), chunk), chunk


def applied(chunk: Chunk, tail: Tail, readings: list[Reading], now_ms: int) -> Chunk | None:
    """What the statement of ddr.store.series.appending.append does to the row."""
    extension = extended(tail, readings, now_ms)
    if extension is None:
        return None
    return replace(
        chunk,
        last_ms=extension.after.last_ms,
        updated_ms=max(chunk.updated_ms, now_ms),
        version=chunk.version + 1,
        filled=extension.after.filled,
        status=extension.status,
        times=chunk.times[: extension.keep] + extension.times,
        vals=chunk.vals + extension.vals,
    )


@given(st.data(), reading_lists)
def test_an_append_equals_a_merge(data: st.DataObject, readings: list[Reading]) -> None:
    ordered = sorted(set(readings))
    at = data.draw(st.integers(1, len(ordered)))
    recorder = Recorder()
    recorder.upload(ordered[:at])
    tail, chunk = tail_of(recorder)
    if at == len(ordered) or tail is None:
        return
    now_ms = START + HOUR
    rest = ordered[at : data.draw(st.integers(at + 1, len(ordered)))]
    appended = applied(chunk, tail, rest, now_ms)
    if appended is not None:
        merged = merge(tail.epoch, [chunk], rest, now_ms) if chunk.k == 0 else recorder.upload(rest, now_ms)
        assert merged.changed == [appended]
        assert not merged.hidden
        remembered = extended(tail, rest, now_ms)
        fresh = Tail.of(tail.epoch, appended)
        assert remembered is not None
        assert fresh is None or replace(remembered.after, updated_ms=appended.updated_ms) == fresh


def test_usual_uploads_append() -> None:
    readings = drifting(12)
    recorder = Recorder(Grid(START, 5 * MINUTE, 24 * HOUR))
    recorder.upload(readings[:4])
    tail, chunk = tail_of(recorder)
    assert tail is not None
    assert (tail.count, tail.filled, tail.terms) == (4, 4, 0) and isinstance(tail.count, int)
    assert applied(chunk, tail, readings[4:], START + HOUR) is not None


def test_a_run_of_one_is_counted_on() -> None:
    recorder = Recorder()
    recorder.upload([(START, 1), (START + GRID.period_ms, 2)])
    tail, chunk = tail_of(recorder)
    assert tail is not None
    rest = [(START + 2 * GRID.period_ms, 3), (START + 3 * GRID.period_ms, 4)]
    appended = applied(chunk, tail, rest, START + HOUR)
    recorder.upload(rest, START + HOUR)
    assert appended == recorder.chunks[0]


STEADY, SLOW = ([(START + slot * (GRID.period_ms + late), slot) for slot in range(6)] for late in (0, 1000))


@pytest.mark.parametrize("readings", [drifting(6), STEADY, SLOW])
def test_what_is_remembered_after_an_append_is_what_would_be_read(readings: list[Reading]) -> None:
    recorder = Recorder()
    recorder.upload(readings[:3])
    tail, chunk = tail_of(recorder)
    assert tail is not None and (tail.k, tail.start_ms) == (chunk.k, chunk.start_ms)
    extension = extended(tail, readings[3:], START + HOUR)
    appended = applied(chunk, tail, readings[3:], START + HOUR)
    recorder.upload(readings[3:], START + HOUR)
    assert appended is not None and appended == recorder.chunks[0]
    assert extension is not None
    assert replace(extension.after, updated_ms=appended.updated_ms) == Tail.of(tail.epoch, appended)


def test_a_tail_knows_under_which_terms_it_is_remembered() -> None:
    recorder = Recorder()
    recorder.upload([(START, 1)])
    _, chunk = tail_of(recorder)
    tail = Tail.of(epoch_of(GRID, chunk), chunk, 7)
    assert tail is not None and tail.terms == 7
    extension = extended(tail, [(START + GRID.period_ms, 2)], START + HOUR)
    assert extension is not None and extension.after.terms == 7


def test_a_full_chunk_is_final_and_no_tail_any_more() -> None:
    recorder = Recorder()
    recorder.upload([(START + slot * 5 * MINUTE, slot) for slot in range(11)])
    tail, chunk = tail_of(recorder)
    assert tail is not None
    appended = applied(chunk, tail, [(START + 55 * MINUTE, 11)], START + HOUR)
    assert appended is not None
    assert (appended.status, appended.filled) == ("f", 12)
    assert Tail.of(tail.epoch, appended) is None


def test_what_cannot_be_appended() -> None:
    recorder = Recorder()
    recorder.upload([(START, 1), (START + 10 * MINUTE, 2)])
    tail, _ = tail_of(recorder)
    assert tail is not None
    bound = START + HOUR - GRID.period_ms // 2  # from here on it belongs to the next chunk
    for time in (START + 5 * MINUTE, START + 10 * MINUTE, START + 11 * MINUTE, bound, START + HOUR):
        assert extended(tail, [(time, 3)], START + HOUR) is None
    assert extended(tail, [(bound - 1, 3)], START + HOUR) is not None
    assert extended(tail, [(START + 20 * MINUTE, 3), (START + 21 * MINUTE, 4)], START + HOUR) is None
    assert extended(tail, [(START + 20 * MINUTE, 3)], START + 26 * HOUR) is None  # final by time


def test_closed_and_empty_chunks_are_no_tails() -> None:
    recorder = Recorder()
    recorder.upload([(START, 1)])
    _, chunk = tail_of(recorder)
    assert Tail.of(epoch_of(Grid(START, GRID.period_ms, GRID.span_ms, START + HOUR), chunk), chunk) is None
    assert Tail.of(epoch_of(GRID, chunk), replace(chunk, times=b"", vals=b"", filled=0)) is None
