"""Bounded memories of a worker, which it can lose at any time; they keep what was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Newest(Generic[K, V]):
    """The values of the `most` keys that were last read or put."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What is remembered for it, or None."""
        value = self._known.get(key)
        if value is not None:
            self._known.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember it; if there is too much, forget what has not been used for longest."""
        self._known[key] = value
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: K) -> None:
        """Remember nothing for it."""
        self._known.pop(key, None)


def of_short_texts(most: int, longest: int) -> Callable[[Callable[[str], V]], Callable[[str], V]]:
    """For a function of a text: remembers its results for the last `most` texts of up to `longest` characters.

    A longer text is long because of what a client sent: it is not repeated, and would fill the memory.
    """

    def remembering(read: Callable[[str], V]) -> Callable[[str], V]:
        known = lru_cache(maxsize=most)(read)

        @wraps(read)
        def reading(text: str) -> V:
            return known(text) if len(text) <= longest else read(text)

        return reading

    return remembering
