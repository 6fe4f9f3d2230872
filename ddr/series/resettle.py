"""What a change of the terms of a series (its device's expiration) does to chunks that DiGA may have seen.

State and version of an unfinished chunk depend on time, under the terms of its series. So before the terms change, what
was shown under the former ones is stored; what is shown differently from now on is a new version, made now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ddr.series.epoch import Chunk, Epoch, empty_chunk
from ddr.series.merge import Merge, revived, trimmed
from ddr.series.packing import decode_values, encode
from ddr.series.reading import Rules
from ddr.series.status import AMENDED, FINAL, PRELIMINARY, WITHDRAWN, State, advanced, created, moved, withdrawn


def resettled(epoch: Epoch, former: Epoch, stored: Sequence[Chunk], now_ms: int) -> Merge:
    """The chunks to write when `former` becomes `epoch`, which differs in its terms only; `stored` are all its chunks.

    What was final stays final. An empty chunk in a time from which no reading is expected any more is withdrawn under
    its id. One that was not expected before and is now is stored, because to a DiGA it is new.
    """
    known = {chunk.k: chunk for chunk in stored}
    shown = {chunk.k: chunk for chunk in [*stored, *former.placeholders(now_ms)] if chunk.status != WITHDRAWN}
    last_k = max((chunk.k for chunk in shown.values() if chunk.filled), default=-1)
    kept: list[Chunk] = []
    gone: list[Chunk] = []
    for chunk in shown.values():
        state = former.shown(chunk, now_ms)
        if chunk.k > last_k and epoch.over(chunk.start_ms):
            gone.append(empty_chunk(chunk.k, chunk.start_ms, withdrawn(state, now_ms)))
        else:
            kept.append(_with(chunk, _state(epoch, chunk, state, now_ms)))
    kept += [
        _appeared(epoch, known.get(new.k), new, now_ms) for new in epoch.placeholders(now_ms) if new.k not in shown
    ]
    k, start_ms = (kept[-1].k + 1, kept[-1].start_ms + epoch.grid.span_ms) if kept else (0, epoch.grid.first_start)
    for part in revived(epoch, known, k, start_ms):
        before = known[part.k]
        kept.append(_appeared(epoch, before, empty_chunk(part.k, part.start_ms, before.state), now_ms))
    while kept and kept[-1].k not in known and _is_shown_anyway(kept[-1], epoch, shown, now_ms):
        kept.pop()
    changed = [chunk for chunk in [*kept, *gone] if chunk != known.get(chunk.k)]
    return Merge(changed, kept[-1] if kept else None)


def restated(epoch: Epoch, stored: Sequence[Chunk], now_ms: int, rules: Rules) -> Merge:
    """The chunks to write when the limits of the sensor become those of `rules`: every SampledData shows them.

    Stored values beyond the limits become what they would be if the limits had been known before.
    """
    kept: list[Chunk] = []
    for chunk in [*stored, *epoch.placeholders(now_ms)]:
        if chunk.status != WITHDRAWN:
            shown = epoch.shown(chunk, now_ms)
            has_data = chunk.filled > 0 or shown.status != PRELIMINARY
            state = advanced(shown, has_data, complete=False, now_ms=now_ms) or shown
            kept.append(_with(_within(chunk, epoch, rules), state))
    kept = trimmed(kept, epoch, now_ms)
    known = {chunk.k: chunk for chunk in stored}
    changed = [chunk for chunk in kept if chunk != known.get(chunk.k)]
    return Merge(changed, kept[-1] if kept else None)


def _is_shown_anyway(chunk: Chunk, epoch: Epoch, shown: Mapping[int, Chunk], now_ms: int) -> bool:
    """True for an empty chunk that is shown now, and was shown before, without being stored."""
    return chunk == epoch.placeholder(chunk.k, now_ms) == shown.get(chunk.k)


def _within(chunk: Chunk, epoch: Epoch, rules: Rules) -> Chunk:
    """The chunk with values beyond the limits marked as such; values of one instant that become equal become one."""
    if all(rules.within(raw) == raw for raw in set(decode_values(chunk.vals))):
        return chunk
    period_ms = epoch.grid.period_ms
    within = sorted({(time, rules.within(raw)) for time, raw in chunk.readings(period_ms)})
    times, vals = encode(within, chunk.start_ms, period_ms)
    return replace(chunk, times=times, vals=vals)


def _state(epoch: Epoch, chunk: Chunk, shown: State, now_ms: int) -> State:
    """The state of a chunk under the new terms: a preliminary chunk is final from now on when they say so."""
    if shown.status == PRELIMINARY and epoch.overdue(chunk.start_ms, now_ms):
        return State(FINAL, shown.version + 1, moved(shown.updated_ms, now_ms))
    return shown


def _appeared(epoch: Epoch, before: Chunk | None, chunk: Chunk, now_ms: int) -> Chunk:
    """An empty chunk that nobody could see until now; `before` is the same chunk when it was withdrawn earlier."""
    if before is None:
        return _with(chunk, created(epoch.overdue(chunk.start_ms, now_ms), now_ms))
    return _with(chunk, State(AMENDED, before.version + 1, moved(before.updated_ms, now_ms)))


def _with(chunk: Chunk, state: State) -> Chunk:
    return replace(chunk, status=state.status, version=state.version, updated_ms=state.updated_ms)
