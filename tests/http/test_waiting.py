"""Who is next: the caller with the fewest active requests, found without visiting all; none is lost or taken twice."""

from __future__ import annotations

import asyncio
from collections import Counter, UserDict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ddr.http.waiting import Turn, Waiting

OF_ONE = 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("comes"), st.integers(0, 5)),
        st.tuples(st.just("goes away"), st.integers(0, 30)),
        st.tuples(st.just("is next"), st.booleans()),
        st.tuples(st.just("is done"), st.integers(0, 30)),
    ),
    max_size=60,
)


class Looked(UserDict[object, int]):
    """What callers have in hand, and how often that was asked."""

    def __init__(self, found: dict[object, int]) -> None:
        super().__init__(found)
        self.times = 0

    def get(self, key: object, default: int = 0) -> int:  # type: ignore[override]
        self.times += 1
        return self.data.get(key, default)


@pytest.fixture
async def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_any_steps_leave_what_a_naive_line_would_hold(loop: asyncio.AbstractEventLoop) -> None:
    @given(STEPS)
    @example([("comes", 0)] * (OF_ONE + 1) + [("goes away", 0)])  # of more than may run ahead one goes
    def holds(steps: list[tuple[str, int]]) -> None:
        waiting = Waiting(OF_ONE)
        there: list[tuple[object, Turn]] = []
        in_hand: list[object] = []
        for what, which in steps:
            if what == "comes":
                there.append((which, loop.create_future()))
                waiting.add(*there[-1])
            elif what == "goes away" and there:
                whose, turn = there.pop(which % len(there))
                assert waiting.drop(whose, turn)
                assert not waiting.drop(whose, turn)
            elif what == "is done" and in_hand:
                in_hand.pop(which % len(in_hand))
            elif what == "is next":
                held = Counter(in_hand)
                least = min((held[whose] for whose, _ in there), default=OF_ONE)
                found = waiting.take(held, last=bool(which))
                if least >= OF_ONE:
                    assert found is None
                    continue
                assert found is not None
                assert held[found[0]] == least
                own = [one for one in there if one[0] == found[0]]
                assert found == own[-1 if which else 0]
                there.remove(found)
                in_hand.append(found[0])
            many = Counter(whose for whose, _ in there)
            assert waiting.count == len(there)
            assert waiting.ahead == sum(min(OF_ONE, number) for number in many.values())
            assert [waiting.of(whose) for whose in range(6)] == [many[whose] for whose in range(6)]

    holds()


@pytest.mark.parametrize("last", [False, True])
async def test_who_asks_for_one_thing_is_served_in_the_order_of_coming(last: bool) -> None:
    loop, waiting = asyncio.get_running_loop(), Waiting(OF_ONE)
    for whose in range(20):
        waiting.add(whose, loop.create_future())
    order = [found[0] for _ in range(20) if (found := waiting.take({}, last))]
    assert order == (list(reversed(range(20))) if last else list(range(20)))


@pytest.mark.parametrize("last", [False, True])
async def test_callers_with_much_to_ask_take_turns(last: bool) -> None:
    loop, waiting = asyncio.get_running_loop(), Waiting(OF_ONE)
    for whose in [*"aaaa", *"bbbb", *"cccc"]:
        waiting.add(whose, loop.create_future())
    order = [str(found[0]) for _ in range(12) if (found := waiting.take({}, last))]
    assert all(set(order[at : at + 3]) == {"a", "b", "c"} for at in range(0, 12, 3))


@pytest.mark.parametrize("last", [False, True])
async def test_a_long_line_takes_no_longer(last: bool) -> None:
    loop, waiting = asyncio.get_running_loop(), Waiting(OF_ONE)
    busy = list(range(10))
    for whose in [*busy, *range(10, 1000), *busy]:
        waiting.add(whose, loop.create_future())
    in_hand = Looked(dict.fromkeys(busy, 1))
    for _ in range(500):
        assert waiting.take(in_hand, last) is not None
    assert in_hand.times <= 500 * (len(busy) + 1)
