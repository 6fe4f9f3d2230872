"""When a recorder's 503 applies to all pairings, and for how long."""

from __future__ import annotations

from ddr.client.rest import Rest


def test_two_pairings_in_a_row_speak_for_all() -> None:
    rest = Rest(900.0)
    rest.refused("one", 60.0, 100.0)
    assert rest.left(100.0) == 0.0
    rest.refused("two", 30.0, 110.0)
    assert rest.left(110.0) == 30.0 and rest.left(139.0) == 1.0 and rest.left(141.0) == 0.0


def test_what_was_asked_before_does_not_end_it_and_the_longest_counts() -> None:
    rest = Rest(900.0)
    for name, seconds in (("one", 60.0), ("two", 60.0), ("three", 10.0)):
        rest.refused(name, seconds, 0.0)
    rest.answered()
    assert rest.left(1.0) == 59.0


def test_a_pairing_that_is_always_refused_stops_nobody_else() -> None:
    rest = Rest(900.0)
    for turn in range(10):
        rest.refused("one", 60.0, 60.0 * turn)
        rest.refused("one", 60.0, 60.0 * turn + 1)
        rest.answered()
        rest.refused("two", 60.0, 60.0 * turn + 2)
        rest.answered()
        assert rest.left(60.0 * turn + 3) == 0.0


def test_it_is_asked_again_after_an_interval_whatever_it_said() -> None:
    rest = Rest(900.0)
    rest.refused("one", 7 * 86_400.0, 0.0)
    rest.refused("two", 7 * 86_400.0, 0.0)
    assert rest.left(0.0) == 900.0
