"""Which statements a session keeps prepared: those used last, within a limit on the total length of their texts.

A prepared statement takes some 170 bytes of the database's memory per character of its text; a search over all kinds of
data takes 2.5 MB in each session. How many different searches there are is up to the clients: with a hundred, a session
took 220 MB.
"""

from __future__ import annotations

from typing import Any

from asyncpg.connection import _StatementCache

# The longest statement that is kept prepared, in characters. A search over all kinds of data has 16,000, and planning
# it takes far longer than executing it. A longer one is long because of the values that a client sent, and is not
# repeated.
LONGEST_CACHED = 24_000
MOST_CHARACTERS = 300_000  # 50 MB; the statements of usual requests need a third of it


class Prepared(_StatementCache):  # type: ignore[misc]
    """asyncpg's cache of one connection, which only limits the number of statements; its keys begin with the text."""

    __slots__ = ()

    @classmethod
    def like(cls, cache: _StatementCache) -> Prepared:
        """An empty cache with the limits of `cache`."""
        return cls(
            loop=cache._loop, max_size=cache._max_size, on_remove=cache._on_remove, max_lifetime=cache._max_lifetime
        )

    def _maybe_cleanup(self) -> None:
        super()._maybe_cleanup()
        characters = sum(map(_length, self._entries))
        while characters > MOST_CHARACTERS and len(self._entries) > 1:
            key, entry = self._entries.popitem(last=False)
            self._clear_entry_callback(entry)
            self._on_remove(entry._statement)
            characters -= _length(key)


def _length(key: tuple[Any, ...]) -> int:
    return len(key[0])
