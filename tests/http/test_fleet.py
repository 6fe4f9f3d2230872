"""What a worker knows about the others."""

from __future__ import annotations

import pytest

from ddr.http.fleet import CONNECTIONS, Fleet


@pytest.mark.parametrize(
    ("mine", "others", "burdened"),
    [(100, [], False), (4, [0], False), (5, [0], True), (100, [100, 3], True), (110, [100], False), (0, [9], False)],
)
def test_who_has_more_connections_lets_others_accept_first(mine: int, others: list[int], burdened: bool) -> None:
    fleet = Fleet(1, connections=lambda: mine)
    told = {str(number): {CONNECTIONS: count} for number, count in enumerate(others, 2)}
    fleet.learn({"1": {CONNECTIONS: 0}, **told}, restarts=0)
    assert fleet.burdened() is burdened


def test_a_worker_that_has_said_nothing_yet_is_not_waited_for() -> None:
    fleet = Fleet(1, connections=lambda: 100)
    fleet.learn({"1": {CONNECTIONS: 0}, "2": {}}, restarts=0)
    assert not fleet.burdened()
