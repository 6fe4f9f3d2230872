"""From calibration events to the stretches of time in one calibration state (HDDT retrieving-data.md, SER-008).

The result depends on the set of events only, never on the order in which they became known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Event:
    """A calibration, or another change of the state; `text` is its time as the gateway wrote it."""

    time_ms: int
    state: str
    type: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Segment:
    """The time from `from_ms` to `until_ms` (exclusive, None while it lasts) in one state.

    `last` is the latest event within that time: a calibration that does not change the state does not end the segment.
    """

    from_ms: int
    until_ms: int | None
    last: Event


def segments(events: Sequence[Event], ended_ms: int | None) -> list[Segment]:
    """The segments of a sensor. `events` are in order of time, the first at its start; `ended_ms` is exclusive."""
    found: list[Segment] = []
    for event in events:
        if ended_ms is not None and found and event.time_ms >= ended_ms:
            break
        if found and found[-1].last.state == event.state:
            found[-1] = replace(found[-1], last=event)
            continue
        if found:
            found[-1] = replace(found[-1], until_ms=event.time_ms)
        found.append(Segment(event.time_ms, None, event))
    found[-1] = replace(found[-1], until_ms=ended_ms)
    return found


def first_calibrated(events: Sequence[Event]) -> int | None:
    """The instant of the first event that leaves the sensor calibrated, or None.

    An event that becomes known later can only make it earlier; only taking back an event makes it later.
    """
    return min((event.time_ms for event in events if event.state == "calibrated"), default=None)
