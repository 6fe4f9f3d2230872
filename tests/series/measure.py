"""How far the shown times of a trace are from the real ones: `python -m tests.series.measure TRACE.csv`.

The trace has the columns id, time (UTC) and gl. The figures of docs/time-in-series.md come from here.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from ddr.series.chain import Cut, cut
from ddr.series.grid import Grid
from ddr.series.packing import Reading, encode
from ddr.series.slots import winners

PERIOD_MS, SPAN_MS = 300_000, 86_400_000


@dataclass(frozen=True)
class Measured:
    """Figures of one trace. Errors in milliseconds; `steps` are the gaps (or overlaps, below 0) between chunks."""

    readings: int
    chunks: int
    hidden: int
    worst_ms: int
    fixed_worst_ms: int  # the same without chaining: one grid from the first reading on
    steps_ms: list[int]
    packed_bytes: int


def measure(readings: list[Reading]) -> Measured:
    """Cut ascending `readings` and compare."""
    grid = Grid(readings[0][0], PERIOD_MS, SPAN_MS)
    chunks = list(cut(readings, grid))
    return Measured(
        readings=sum(len(chunk.readings) for chunk in chunks),
        chunks=len(chunks),
        hidden=sum(len(chunk.readings) - len(winners(chunk.readings, chunk.start_ms, PERIOD_MS)) for chunk in chunks),
        worst_ms=max(_error(time, chunk.start_ms) for chunk in chunks for time, _ in chunk.readings),
        fixed_worst_ms=max(_error(time, grid.first_start) for time, _ in readings),
        steps_ms=[after.start_ms - before.start_ms - SPAN_MS for before, after in pairwise(chunks)],
        packed_bytes=sum(_size(chunk) for chunk in chunks),
    )


def _error(time_ms: int, start_ms: int) -> int:
    """Distance to the nearest slot of a grid from `start_ms` on."""
    offset = (time_ms - start_ms) % PERIOD_MS
    return min(offset, PERIOD_MS - offset)


def _size(chunk: Cut) -> int:
    times, vals = encode(chunk.readings, chunk.start_ms, PERIOD_MS)
    return len(times) + len(vals)


def read_trace(path: Path) -> list[Reading]:
    """The readings of a trace in ascending order."""
    with path.open(newline="") as file:
        rows = [(datetime.fromisoformat(row["time"]).replace(tzinfo=UTC), row["gl"]) for row in csv.DictReader(file)]
    return sorted((int(time.timestamp()) * 1000, int(value)) for time, value in rows)


def main(path: str) -> None:
    """Print the figures of one trace."""
    found = measure(read_trace(Path(path)))
    print(f"{found.readings} readings in {found.chunks} chunks, {found.hidden} not shown")
    print(f"shown time at most {found.worst_ms / 1000:g} s off; on one fixed grid {found.fixed_worst_ms / 1000:g} s")
    print(f"neighbouring chunks: from {min(found.steps_ms) / 1000:g} s to {max(found.steps_ms) / 1000:g} s apart")
    print(f"packed: {found.packed_bytes / found.readings:.2f} bytes per reading")


if __name__ == "__main__":
    main(*sys.argv[1:])
