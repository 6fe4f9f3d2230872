"""When a chunk is preliminary, final or amended, and how its version moves (HDDT retrieving-data.md, SER-003 ff.).

A version changes when what a DiGA can see changes, and only then. A chunk becomes final by time without a write
(`settled`).
"""

from __future__ import annotations

from typing import NamedTuple

from ddr.series.grid import SECOND, whole_second

PRELIMINARY, FINAL, AMENDED = "p", "f", "a"
WITHDRAWN = "e"  # no longer part of the series: a late event moved its readings to another one
NAMES = {PRELIMINARY: "preliminary", FINAL: "final", AMENDED: "amended", WITHDRAWN: "entered-in-error"}


class State(NamedTuple):
    """The part of a chunk by which a DiGA recognises its content."""

    status: str
    version: int
    updated_ms: int


def settles(start_ms: int, end_ms: int, buffering_ms: int, expires_ms: int | None) -> int:
    """When a preliminary chunk becomes final by time: when its device can have no unsent readings any more.

    `buffering_ms` is how long the device keeps what it could not send. A chunk in which the device expires, or which
    ends at that moment, becomes final with the expiry, because the device is inactive from then on (SER-017).
    """
    if expires_ms is not None and start_ms < expires_ms and whole_second(expires_ms) <= end_ms + SECOND:
        return min(end_ms + buffering_ms, expires_ms)
    return end_ms + buffering_ms


def settled(state: State, settles_ms: int, now_ms: int) -> State:
    """`state` as shown at `now_ms`: a preliminary chunk is final after `settles_ms`, from the next millisecond on."""
    if state.status == PRELIMINARY and settles_ms < now_ms:
        return State(FINAL, state.version + 1, max(state.updated_ms, settles_ms + 1))
    return state


def moved(updated_ms: int, now_ms: int) -> int:
    """The timestamp of a change at `now_ms`: never earlier than the previous one, whoever wrote that."""
    return now_ms if updated_ms <= now_ms else updated_ms + 1


def created(complete: bool, now_ms: int) -> State:
    """The first state of a chunk that nobody could see before; `complete`: as for `advanced`, or final by time."""
    return State(FINAL if complete else PRELIMINARY, 1, now_ms)


def advanced(shown: State, changed: bool, complete: bool, now_ms: int) -> State | None:
    """The state after a write, or None when it does not change; `shown` is the settled state before the write.

    `changed`: the content differs. `complete`: nothing more can come, because all slots are filled, the gateway said
    so, or the series was cut.
    """
    finishes = complete and shown.status == PRELIMINARY
    if not changed and not finishes:
        return None
    status = FINAL if finishes else PRELIMINARY if shown.status == PRELIMINARY else AMENDED
    return State(status, shown.version + 1, moved(shown.updated_ms, now_ms))


def withdrawn(shown: State, now_ms: int) -> State:
    """The state of a chunk that is no longer part of its series; `shown` as for `advanced`."""
    return State(WITHDRAWN, shown.version + 1, moved(shown.updated_ms, now_ms))
