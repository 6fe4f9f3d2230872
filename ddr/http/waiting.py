"""Who waits for a turn in a room. Choosing the next takes as long among a thousand callers as among two.

Two orders of callers are kept: by who waits longest, and by who came last. Who was given a turn and has more to ask for
goes behind all others, so that callers with as much in hand take turns.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

Turn = asyncio.Future[bool]
"""Done when the wait is over: True with a turn, False without one."""


def over(turn: Turn) -> None:
    """The patience of who waits has come to an end."""
    if not turn.done():
        turn.set_result(False)


class Waiting:
    """The turns that are waited for, by caller."""

    def __init__(self, of_one: int) -> None:
        self.count = 0
        self.ahead = 0  # of these who may run before somebody new: `of_one` of each caller at most
        self._of_one = of_one
        self._turns: dict[object, dict[Turn, None]] = {}  # of each caller the oldest first
        self._longest: OrderedDict[object, None] = OrderedDict()  # callers: who waits longest is first
        self._newest: OrderedDict[object, None] = OrderedDict()  # callers: who came last is last

    def of(self, whose: object) -> int:
        """How many turns this caller waits for."""
        return len(self._turns.get(whose, ()))

    def add(self, whose: object, turn: Turn) -> None:
        """Another one waits."""
        turns = self._turns.setdefault(whose, {})
        turns[turn] = None
        self.count += 1
        self.ahead += len(turns) <= self._of_one
        self._longest.setdefault(whose)
        self._newest[whose] = None
        self._newest.move_to_end(whose)

    def drop(self, whose: object, turn: Turn) -> bool:
        """It waits no more; False when it did not wait."""
        turns = self._turns.get(whose, {})
        if turn not in turns:
            return False
        del turns[turn]
        self.count -= 1
        self.ahead -= len(turns) < self._of_one
        if not turns:
            del self._turns[whose], self._longest[whose], self._newest[whose]
        return True

    def take(self, in_hand: Mapping[object, int], last: bool) -> tuple[object, Turn] | None:
        """Whose turn it is, who waits no more: of who has least in hand the first, or the last; None when none may run.

        Nobody with nothing in hand is passed over, so that no more callers are looked at than have something in hand.
        """
        least, found = self._of_one, None
        for whose in reversed(self._newest) if last else self._longest:
            mine = in_hand.get(whose, 0)
            if mine < least:
                least, found = mine, whose
                if not mine:
                    break
        if found is None:
            return None
        turns = self._turns[found]
        turn = next(reversed(turns) if last else iter(turns))
        self.drop(found, turn)
        if turns:
            self._longest.move_to_end(found)
            self._newest.move_to_end(found, last=False)
        return found, turn
