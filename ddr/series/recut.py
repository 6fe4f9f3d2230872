"""Cutting a stored series anew: after an event that became known late, and after readings were taken back.

The chunks are made from the epoch's readings and nothing else. A chunk that is no longer part of the series is
withdrawn: it keeps its id and becomes empty, because a DiGA may know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ddr.series.epoch import Chunk, Epoch
from ddr.series.merge import Merge, last_number, live_parts, revised, trimmed, without_place
from ddr.series.packing import Reading


def recut(
    epoch: Epoch, former: Epoch | None, stored: Sequence[Chunk], readings: Sequence[Reading], now_ms: int
) -> Merge:
    """The chunks of `epoch` when it holds exactly these ascending `readings`.

    `former` is the epoch as it was shown until now, None for a new one; `stored` are all its chunks. An empty chunk
    that was not shown before and is shown from now on is stored, because to a DiGA it is new. When the first chunks
    were deleted (ddr.store.patients.retention), the first remaining one stays where it is.
    """
    if former is None:
        epoch = former = replace(epoch, registered_ms=now_ms)
    known = {chunk.k: chunk for chunk in stored}
    anchor = _anchor(epoch, stored, readings)
    k, expected_ms = (anchor.k + 1, anchor.start_ms + epoch.grid.span_ms) if anchor else (0, epoch.grid.first_start)
    cover_ms = max(_cover(epoch), epoch.overdue_before(now_ms))
    shown = [*stored, *former.placeholders(now_ms)]
    parts = list(live_parts(epoch, known, readings, k, expected_ms, last_number(shown), cover_ms))
    live = trimmed([revised(epoch, former, known.get(part.k), part, now_ms) for part in parts], former, now_ms)
    gone = without_place(shown, k + len(parts), former, now_ms)
    changed = [chunk for chunk in live + gone if chunk != known.get(chunk.k)]
    return Merge(changed, live[-1] if live else anchor)


def _anchor(epoch: Epoch, stored: Sequence[Chunk], readings: Sequence[Reading]) -> Chunk | None:
    """The first stored chunk, if chunks before it were deleted and neither a reading nor the epoch's end is earlier."""
    first = stored[0] if stored else None
    if first is None or first.k == 0 or (epoch.grid.until_ms or first.start_ms + 1) <= first.start_ms:
        return None
    return first if not readings or epoch.grid.bound(first.start_ms) <= readings[0][0] else None


def _cover(epoch: Epoch) -> int:
    """Empty chunks are stored if they start before this instant: a series that is over has no missing chunks."""
    if epoch.grid.until_ms is None:
        return 0
    return min(epoch.grid.until_ms, epoch.expected_until_ms or epoch.grid.until_ms)
