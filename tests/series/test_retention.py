"""A series whose first chunks are deleted continues as if they were there (ddr.store.patients.retention)."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from ddr.series.packing import Reading, decode
from ddr.series.recut import recut
from tests.series.model import GRID, HOUR, START, Recorder, epoch_of, reading_lists


def forgotten(recorder: Recorder, before_ms: int) -> int:
    """Do what retention does; the number of the chunk that is left as a place, -1 if none is over."""
    over = [k for k, chunk in recorder.chunks.items() if chunk.start_ms + GRID.span_ms <= before_ms]
    for k in sorted(over)[:-1]:
        del recorder.chunks[k]
    if not over:
        return -1
    place = recorder.chunks[max(over)]
    recorder.chunks[place.k] = replace(place, last_ms=place.start_ms - 1, filled=0, times=b"", vals=b"")
    return place.k


def after(recorder: Recorder, k: int) -> list[tuple[int, int, bytes, bytes]]:
    return [row for row in recorder.content() if row[0] > k]


@given(reading_lists, reading_lists, st.integers(START, START + 11 * HOUR))
def test_what_comes_later_is_cut_the_same(first: list[Reading], later: list[Reading], before_ms: int) -> None:
    later = [reading for reading in later if reading[0] >= before_ms]
    assume(later)
    whole, kept = Recorder(), Recorder()
    whole.upload(first)
    kept.upload(first)
    k = forgotten(kept, before_ms)
    whole.upload(later)
    kept.upload(later)
    assert after(kept, k) == after(whole, k)


@given(reading_lists, st.integers(START, START + 11 * HOUR))
def test_a_recut_leaves_the_chunks_where_they_were(first: list[Reading], before_ms: int) -> None:
    kept = Recorder()
    kept.upload(first)
    k = forgotten(kept, before_ms)
    assume(k > 0)
    stored = [kept.chunks[number] for number in sorted(kept.chunks)]
    period = GRID.period_ms
    left = sorted(reading for chunk in stored for reading in decode(chunk.times, chunk.vals, chunk.start_ms, period))
    epoch = epoch_of(GRID, stored[-1])
    merged = recut(epoch, epoch, stored, left, stored[-1].start_ms)
    assert merged.changed == []
    assert merged.tail is not None and merged.tail.k >= k
