"""Appending to the last chunk of a series without reading it: what a worker remembers of it, and the bytes to add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ddr.series.epoch import Chunk, Epoch
from ddr.series.grid import slot_of
from ddr.series.packing import Reading, encode_times, encode_values, open_run
from ddr.series.status import FINAL, PRELIMINARY


@dataclass(frozen=True, slots=True)
class Tail:
    """The last chunk of a running series, preliminary and not empty. `count` is the number of its readings."""

    epoch: Epoch
    k: int
    start_ms: int
    last_ms: int
    version: int
    updated_ms: int  # identifies the write together with `version`, which can recur after a restore of the database
    filled: int
    count: int
    times_length: int
    run: int  # `open_run` (ddr.series.packing) of its times
    terms: int = 0  # how often the terms of its series had changed when `epoch` was read

    @classmethod
    def of(cls, epoch: Epoch, chunk: Chunk, terms: int = 0) -> Tail | None:
        """The tail of `epoch`, or None when readings cannot simply be appended to `chunk`."""
        if chunk.status != PRELIMINARY or not chunk.times or epoch.grid.until_ms is not None:
            return None
        return cls(
            epoch=epoch,
            k=chunk.k,
            start_ms=chunk.start_ms,
            last_ms=chunk.last_ms,
            version=chunk.version,
            updated_ms=chunk.updated_ms,
            filled=chunk.filled,
            count=len(chunk.vals) // 2,
            times_length=len(chunk.times),
            run=open_run(chunk.times),
            terms=terms,
        )


@dataclass(frozen=True, slots=True)
class Extension:
    """The change of a tail: keep `keep` bytes of times, append `times` and `vals`; this gives `after`, with `status`.

    `updated_ms` of `after` is only known once it is written.
    """

    keep: int
    times: bytes
    vals: bytes
    status: str
    after: Tail


def extended(tail: Tail, readings: Sequence[Reading], now_ms: int) -> Extension | None:
    """The change that `merge` would make, for ascending readings that all come after the tail's last slot.

    None when they do not, when they reach beyond the chunk, or when the chunk is final by time.
    """
    grid, period = tail.epoch.grid, tail.epoch.grid.period_ms
    if readings[-1][0] >= grid.bound(tail.start_ms) or tail.epoch.overdue(tail.start_ms, now_ms):
        return None
    times = [time for time, _ in readings]
    slot = slot_of(tail.last_ms - tail.start_ms, period)
    for time in times:
        before, slot = slot, slot_of(time - tail.start_ms, period)
        if slot <= before:
            return None
    keep = tail.times_length - (tail.run > 0)
    added = encode_times(times, period, tail.last_ms, tail.run)
    filled = tail.filled + len(times)
    after = replace(
        tail,
        last_ms=times[-1],
        version=tail.version + 1,
        filled=filled,
        count=tail.count + len(times),
        times_length=keep + len(added),
        run=open_run(added),
    )
    status = FINAL if filled == grid.slots else PRELIMINARY
    return Extension(keep, added, encode_values([raw for _, raw in readings]), status, after)
