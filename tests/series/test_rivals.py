"""Which of several different values for one instant are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ddr.series.packing import ERROR, Reading
from ddr.series.rivals import NEWEST, surplus
from ddr.series.slots import shown_of

uploads = st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40) | st.just(ERROR)), max_size=30), max_size=8)


@given(uploads)
def test_first_shown_and_newest_are_kept(batches: list[list[Reading]]) -> None:
    stored, came, all_, first = set[Reading](), dict[int, list[int]](), set[Reading](), dict[int, int]()
    for batch in batches:
        new = set(batch) - stored
        gone = set(surplus(sorted(stored | new), new, came))
        for time, raw in sorted(new):
            first.setdefault(time, raw)
            came.setdefault(time, []).append(raw)
        for time in came:
            newest = came[time][-NEWEST:]
            came[time] = [raw for raw in came[time] if (time, raw) not in gone]
            assert came[time][-NEWEST:][-len(newest) :] == newest
            assert len(came[time]) <= NEWEST + 2
        all_, stored = all_ | new, (stored | new) - gone
        assert stored == {(time, raw) for time, raws in came.items() for raw in raws}
        assert stored.issuperset(first.items())
        for time, raws in came.items():
            assert shown_of(raws) == shown_of(raw for at, raw in all_ if at == time)


def test_of_few_values_and_of_other_instants_none_is_left_out() -> None:
    few = [(0, raw) for raw in range(NEWEST + 2)]
    many = [(60_000 * at, raw) for at in range(100) for raw in (1, 2)]
    assert list(surplus(few, set(few), {})) == []
    assert list(surplus(many, set(many), {})) == []


def test_the_order_in_which_they_came_decides_and_what_is_known_came_before_what_is_new() -> None:
    raws = list(range(NEWEST + 4))
    came = [raws[-1], *raws[:-1]]
    assert list(surplus([(5, raw) for raw in raws], set(), {5: came})) == [(5, 1), (5, 2)]  # 0 is shown
    new = {(5, raw) for raw in raws[:NEWEST]}
    assert list(surplus([(5, raw) for raw in raws], new, {})) == [(5, NEWEST + 1), (5, NEWEST + 2), (5, NEWEST + 3)]
