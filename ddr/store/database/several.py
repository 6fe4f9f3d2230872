"""Arguments of several requests as those of one statement."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


def array(values: Iterable[object]) -> str:
    """An array as text, which a cast makes one again: in an array of arrays all would have to be of one length."""
    return _text(tuple(values))


@lru_cache(maxsize=256)
def _text(values: tuple[object, ...]) -> str:
    return "{" + ",".join("NULL" if value is None else _quoted(str(value)) for value in values) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
