"""Who waits for a turn in a room. Choosing the next takes as long with a thousand callers as with two.

Callers are kept in two orders: by who waits longest, and by who came last. A caller that was given a turn and has
further requests goes behind all others, so that callers with equally many requests in progress take turns.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

Turn = asyncio.Future[bool]
"""Done when the wait is over: True with a turn, False without one."""


def over(turn: Turn) -> None:
    """Called when the patience of a waiting request is over."""
    if not turn.done():
        turn.set_result(False)


class Waiting:
    """The awaited turns, by caller."""

    def __init__(self, of_one: int) -> None:
        self.count = 0
        self.ahead = 0  # those who may run before a newcomer: at most `of_one` per caller
        self._of_one = of_one
        self._turns: dict[object, dict[Turn, None]] = {}  # for each caller, oldest first
        self._longest: OrderedDict[object, None] = OrderedDict()  # callers, the one who waits longest first
        self._newest: OrderedDict[object, None] = OrderedDict()  # callers, the newest last

    def of(self, whose: object) -> int:
        """How many turns this caller waits for."""
        return len(self._turns.get(whose, ()))

    def add(self, whose: object, turn: Turn) -> None:
        """Add another turn to wait for."""
        turns = self._turns.setdefault(whose, {})
        turns[turn] = None
        self.count += 1
        self.ahead += len(turns) <= self._of_one
        self._longest.setdefault(whose)
        self._newest[whose] = None
        self._newest.move_to_end(whose)

    def drop(self, whose: object, turn: Turn) -> bool:
        """Stop waiting for it; False when it was not waited for."""
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
        """Remove and return the next turn: of the callers with the fewest requests in progress, the first, or the last;
        None when none may run.

        A caller without any is never skipped, so no more callers are looked at than have requests in progress.
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
