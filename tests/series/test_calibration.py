"""Segments depend on the set of events only."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ddr.series.calibration import Event, Segment, first_calibrated, segments

STATES = ("not-calibrated", "calibrated", "calibration-required")
events = st.lists(
    st.builds(Event, st.integers(0, 50), st.sampled_from(STATES), st.none(), st.none()),
    min_size=1,
    unique_by=lambda event: event.time_ms,
).map(lambda found: sorted(found, key=lambda event: event.time_ms))


def event(time_ms: int, state: str) -> Event:
    return Event(time_ms, state, None, None)


def test_a_change_of_state_ends_a_segment_and_a_calibration_does_not() -> None:
    first, again, change = event(0, "calibrated"), event(5, "calibrated"), event(9, "calibration-required")
    assert segments([first, again, change], None) == [Segment(0, 9, again), Segment(9, None, change)]


def test_events_after_the_end_begin_nothing() -> None:
    first, late = event(0, "calibrated"), event(20, "not-calibrated")
    assert segments([first, late], 15) == [Segment(0, 15, first)]
    assert segments([first, event(15, "not-calibrated")], 15) == [Segment(0, 15, first)]
    last = event(14, "not-calibrated")
    assert segments([first, last], 15) == [Segment(0, 14, first), Segment(14, 15, last)]


@given(events)
def test_segments_cover_the_time_and_differ_from_their_neighbours(found: list[Event]) -> None:
    parts = segments(found, None)
    assert parts[0].from_ms == found[0].time_ms
    assert parts[-1].until_ms is None
    for part, after in pairwise(parts):
        assert part.until_ms == after.from_ms
        assert part.last.state != after.last.state


@given(events, events)
def test_a_further_event_never_takes_the_beginning_of_a_segment_away(found: list[Event], more: list[Event]) -> None:
    """So every epoch goes on as exactly one segment (ddr.store.series.calibrations)."""
    known = {each.time_ms: each for each in more} | {each.time_ms: each for each in found}
    later = segments([known[time] for time in sorted(known) if time >= found[0].time_ms], None)
    goes_on = [
        next(part for part in later if part.from_ms <= before.from_ms < (part.until_ms or 99))
        for before in segments(found, None)
    ]
    assert len({part.from_ms for part in goes_on}) == len(goes_on)
    assert [part.last.state for part in goes_on] == [before.last.state for before in segments(found, None)]


def test_since_when_a_sensor_is_calibrated() -> None:
    events = [
        Event(time_ms, state, None, None)
        for time_ms, state in ((30, "calibrated"), (10, "not-calibrated"), (20, "calibrated"))
    ]
    assert first_calibrated(events) == 20
    assert first_calibrated(events[1:2]) is None
