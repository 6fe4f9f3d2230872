"""What pairings were let see the last time: a guess at what is asked next, never a decision (ddr.diga_api.access)."""

from __future__ import annotations

from collections.abc import Mapping

from ddr.scopes.decision import Allowed
from ddr.store.authorization.openings import Opened

REMEMBERED = 10_000  # pairings

What = tuple[Allowed, Mapping[str, Opened]]
"""What was allowed, and the Openings of its ValueSets by their URL."""


class Seen:
    """That of the last REMEMBERED of them, by pairing, grant and kinds of data."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], What] = {}

    def get(self, who: tuple[object, ...]) -> What | None:
        """None: nobody remembers."""
        return self._known.get(who)

    def put(self, who: tuple[object, ...], seen: What) -> None:
        """The newest comes last."""
        self._known.pop(who, None)
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[who] = seen
