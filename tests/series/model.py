"""A naive recorder that keeps everything in memory, and strategies for readings; shared by the property tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from ddr.series.epoch import Chunk, Epoch
from ddr.series.grid import Grid
from ddr.series.merge import Merge, merge
from ddr.series.packing import Reading

MINUTE, HOUR = 60_000, 3_600_000
START = 1_700_000_000_000
GRID = Grid(START, 5 * MINUTE, HOUR)


def epoch_of(
    grid: Grid = GRID,
    tail: Chunk | None = None,
    complete_until_ms: int | None = None,
    buffering_ms: int = 24 * HOUR,
    delay_ms: int = 15 * MINUTE,
) -> Epoch:
    """An epoch with this last stored chunk."""
    k, start = (None, None) if tail is None else (tail.k, tail.start_ms)
    return Epoch(grid, buffering_ms, delay_ms, complete_until_ms, grid.until_ms, k, start)


@dataclass
class Recorder:
    """What the store does, in a dict: load the last chunks, merge, write the changed ones."""

    grid: Grid = GRID
    chunks: dict[int, Chunk] = field(default_factory=dict)

    def upload(self, readings: Iterable[Reading], now_ms: int = START) -> Merge:
        """Merge `readings` and keep the changed chunks."""
        batch = list(readings)
        rows = sorted(self.chunks.values(), key=lambda chunk: chunk.k)
        first = min(time for time, _ in batch)
        anchor = max((row.k for row in rows if self.grid.bound(row.start_ms) <= first), default=0)
        merged = merge(
            epoch_of(self.grid, rows[-1] if rows else None), [row for row in rows if row.k >= anchor], batch, now_ms
        )
        self.chunks.update({chunk.k: chunk for chunk in merged.changed})
        return merged

    def content(self) -> list[tuple[int, int, bytes, bytes]]:
        """What must not depend on order or batches. Trailing empty chunks count as not there."""
        rows = [(chunk.k, chunk.start_ms, chunk.times, chunk.vals) for _, chunk in sorted(self.chunks.items())]
        while rows and not rows[-1][2]:
            rows.pop()
        return rows


def drifting(count: int, period_ms: int = 5 * MINUTE, drift_ms: int = -37, start_ms: int = START) -> list[Reading]:
    """A trace as real sensors give it: the clock runs fast by `drift_ms` per reading, times are whole seconds."""
    step = period_ms + drift_ms
    return [(start_ms + index * step // 1000 * 1000, 100 + index % 150) for index in range(count)]


# irregular on purpose: bursts, collisions, sub-second times, gaps of several chunks
times = st.one_of(
    st.integers(START, START + 10 * HOUR),
    st.integers(0, 120).map(lambda slot: START + slot * 5 * MINUTE),
    st.integers(0, 120).map(lambda slot: START + slot * (5 * MINUTE - 2000)),
)
reading_lists = st.lists(st.tuples(times, st.integers(-3, 3)), min_size=1, max_size=60)
