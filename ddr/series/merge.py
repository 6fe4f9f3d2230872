"""What an upload does to the stored chunks of one series: the rows to write, and what became of each reading."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

from ddr.series.chain import Cut, cut
from ddr.series.epoch import Chunk, Epoch, empty_chunk
from ddr.series.grid import least_slots
from ddr.series.packing import ERROR, Reading, encode
from ddr.series.rivals import surplus
from ddr.series.slots import place, winners
from ddr.series.status import PRELIMINARY, WITHDRAWN, State, advanced, created, withdrawn

NONE: Mapping[int, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Merge:
    """The result of a merge: `changed` has the chunks to write, `tail` is the last chunk of the series.

    The sets concern an upload, and are empty where there was none. New readings that are not in `accepted` were already
    known.
    """

    changed: list[Chunk]
    tail: Chunk | None
    accepted: set[Reading] = field(default_factory=set)
    hidden: set[Reading] = field(default_factory=set)  # accepted, but another reading of the same slot is shown
    rivals: set[Reading] = field(default_factory=set)  # readings (known ones too) that share their instant with another
    left_out: set[Reading] = field(default_factory=set)  # those of the rivals, also known ones, that are not kept


def merge(
    epoch: Epoch,
    stored: Sequence[Chunk],
    new: Collection[Reading],
    now_ms: int,
    cover_ms: int = 0,
    came: Mapping[int, Sequence[int]] = NONE,
) -> Merge:
    """Put `new` readings, all within the epoch, into its chunks; versions and states move as a DiGA would expect.

    `stored` are the last chunks, consecutive, beginning either with number 0 or with a chunk that ends before every new
    reading. Of that chunk only the place counts, unless it was withdrawn, because its readings may have been deleted
    (ddr.store.patients.retention). Empty chunks are made while they start before `cover_ms`. A stored chunk never
    vanishes: at worst it becomes empty, or is withdrawn when its place moves beyond the end of the series or the expiry
    of its device. `came` is as for ddr.series.rivals.surplus.
    """
    k, expected_ms, opened = _opened(epoch, stored, new)
    before = {chunk.k: chunk for chunk in opened}
    known = {reading for chunk in opened for reading in chunk.readings(epoch.grid.period_ms)}
    accepted = set(new) - known
    if not accepted and not cover_ms:
        return Merge([], _last_live(stored))
    readings = sorted(known | accepted)
    left_out = set(surplus(readings, accepted, came))
    if left_out:
        readings = [reading for reading in readings if reading not in left_out]
    shown = [*stored, *epoch.placeholders(now_ms)]
    cover_ms = max(cover_ms, epoch.overdue_before(now_ms))  # what is shown from now on is new, so it is stored
    parts = list(live_parts(epoch, before, readings, k, expected_ms, last_number(shown), cover_ms))
    chunks = [revised(epoch, epoch, before.get(part.k), part, now_ms) for part in parts]
    hidden, rivals = _crowding(parts, chunks, accepted, epoch.grid.period_ms)
    end_k = k + len(parts)
    gone = without_place(shown, end_k, epoch, now_ms)
    live = trimmed(chunks, epoch, now_ms)
    tail = live[-1] if live else _last_live(chunk for chunk in stored if chunk.k < end_k)
    changed = [chunk for chunk in live + gone if chunk is not before.get(chunk.k)]
    return Merge(changed, tail, accepted, hidden | (accepted & left_out), rivals | left_out, left_out)


def last_number(chunks: Iterable[Chunk]) -> int:
    """The number of the last of `chunks` that is not withdrawn, -1 when there is none."""
    return max((chunk.k for chunk in chunks if chunk.status != WITHDRAWN), default=-1)


def _last_live(chunks: Iterable[Chunk]) -> Chunk | None:
    live = [chunk for chunk in chunks if chunk.status != WITHDRAWN]
    return live[-1] if live else None


def _crowding(
    parts: Sequence[Cut], chunks: Sequence[Chunk], accepted: set[Reading], period_ms: int
) -> tuple[set[Reading], set[Reading]]:
    """The `accepted` readings that are hidden in their slot, and the rivals, in `chunks`, which were cut as `parts`."""
    hidden: set[Reading] = set()
    rivals: set[Reading] = set()
    for part, chunk in zip(parts, chunks, strict=True):
        if chunk.filled < len(part.readings):  # several readings in one slot
            chosen = winners(part.readings, part.start_ms, period_ms).values()
            hidden.update(accepted.intersection(part.readings).difference(chosen))
            rivals.update(_rivals(part.readings))
    return hidden, rivals


def _rivals(readings: Sequence[Reading]) -> Iterator[Reading]:
    """Those of ascending `readings` that share their instant with another one."""
    for first, second in pairwise(readings):
        if first[0] == second[0]:
            yield first
            yield second


def live_parts(
    epoch: Epoch,
    known: Mapping[int, Chunk],
    readings: Sequence[Reading],
    k: int,
    expected_ms: int,
    last_k: int,
    cover_ms: int,
) -> Iterator[Cut]:
    """The chunks of ascending `readings` as ddr.series.chain.cut makes them, then those of `known` that are `revived`.

    After the last reading, an empty chunk has no place where no reading is expected: beyond the end, or the expiry.
    """
    for part in cut(readings, epoch.grid, k, expected_ms, last_k, cover_ms):
        behind = not part.readings and (not readings or readings[-1][0] < part.start_ms)
        if behind and epoch.over(part.start_ms):
            return
        yield part
        k, expected_ms = part.k + 1, part.start_ms + epoch.grid.span_ms
    yield from revived(epoch, known, k, expected_ms)


def revived(epoch: Epoch, known: Mapping[int, Chunk], k: int, start_ms: int) -> Iterator[Cut]:
    """The withdrawn chunks from number `k` on, expected at `start_ms`, that can get readings again; they are empty now.

    Otherwise they would appear as placeholders later, under ids that DiGA know as entered in error.
    """
    while (before := known.get(k)) and before.status == WITHDRAWN and not epoch.over(start_ms):
        yield Cut(k, start_ms, ())
        k, start_ms = k + 1, start_ms + epoch.grid.span_ms


def without_place(shown: Iterable[Chunk], k: int, former: Epoch, now_ms: int) -> list[Chunk]:
    """The chunks `shown` from number `k` on that no longer belong to the series: empty, with ids that DiGA may know.

    `former` is the epoch as it was shown.
    """
    return [_withdrawn(chunk, former, now_ms) for chunk in shown if chunk.k >= k]


def _withdrawn(chunk: Chunk, former: Epoch, now_ms: int) -> Chunk:
    if chunk.status == WITHDRAWN:
        return chunk
    return empty_chunk(chunk.k, chunk.start_ms, withdrawn(former.shown(chunk, now_ms), now_ms))


def trimmed(chunks: list[Chunk], former: Epoch, now_ms: int) -> list[Chunk]:
    """`chunks` without the placeholders at its end that have not changed: these need not be stored."""
    while chunks and chunks[-1] == former.placeholder(chunks[-1].k, now_ms):
        chunks.pop()
    return chunks


def _opened(epoch: Epoch, stored: Sequence[Chunk], new: Collection[Reading]) -> tuple[int, int, Sequence[Chunk]]:
    """Number and expected start of the first chunk to cut again, and the stored chunks from there on."""
    if stored and stored[0].k > 0 and stored[0].status == WITHDRAWN:  # the live chunks before it were deleted
        return *epoch.next_start(), stored
    if stored and (stored[0].k > 0 or _precedes(epoch, stored[0], new)):
        return stored[0].k + 1, stored[0].start_ms + epoch.grid.span_ms, stored[1:]
    return 0, epoch.grid.first_start, stored


def _precedes(epoch: Epoch, chunk: Chunk, new: Collection[Reading]) -> bool:
    """True when the first chunk, number 0, ends before the first new reading."""
    if chunk.status == WITHDRAWN or not new:
        return False
    # A chunk without readings would take a reading up to the end of its last slot (ddr.series.chain).
    bound = epoch.grid.bound(chunk.start_ms) if chunk.times else chunk.start_ms + epoch.grid.span_ms
    return bound <= min(new)[0]


def revised(epoch: Epoch, former: Epoch, before: Chunk | None, part: Cut, now_ms: int) -> Chunk:
    """The chunk of `part`, or the very object `before` when there is nothing to write. `former` is what was shown."""
    times, vals = encode(part.readings, part.start_ms, epoch.grid.period_ms)
    slots, filled = place(times, vals, epoch.grid.period_ms)
    complete = epoch.complete(part.start_ms, filled)
    visible = before or former.placeholder(part.k, now_ms)
    if visible is None:
        state = created(complete or epoch.overdue(part.start_ms, now_ms), now_ms)
    else:
        shown = former.shown(visible, now_ms)
        seen = _seen(former, shown, visible.start_ms, _slots(visible, epoch))
        changed = visible.status == WITHDRAWN or seen != _seen(epoch, shown, part.start_ms, slots)
        state = advanced(shown, changed, complete, now_ms) or visible.state
    last_ms = part.readings[-1][0] if part.readings else part.start_ms - 1
    chunk = Chunk(part.k, part.start_ms, last_ms, state.updated_ms, state.version, filled, state.status, times, vals)
    return before if before == chunk else chunk


def _slots(chunk: Chunk, epoch: Epoch) -> list[int]:
    return place(chunk.times, chunk.vals, epoch.grid.period_ms)[0]


def _seen(epoch: Epoch, state: State, start_ms: int, slots: list[int]) -> tuple[int, int, list[int]]:
    """What a DiGA sees: start, end and values. A preliminary chunk ends with its last reading (ddr.series.view)."""
    grid = epoch.grid
    if state.status != PRELIMINARY:
        slots = slots + [ERROR] * (least_slots(start_ms, grid.span_ms, grid.period_ms, grid.until_ms) - len(slots))
    return start_ms, epoch.end(start_ms), slots
