"""Turns a statement that reads for one request into one that reads for several concurrent ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import asyncpg

from ddr.store.database.pool import Connection
from ddr.store.database.together import MOST, Way, ask

Types = tuple[str, ...]
Rows = list[asyncpg.Record]

_PARAMETER = re.compile(r"\$(\d+)")


async def fetch_together(conn: Connection, text: str, types: Types, *arguments: Any, most: int = MOST) -> Rows:
    """The rows of a reading statement, run together with concurrent callers of the same text with other arguments, at
    most `most` of them.

    Its parameters have these SQL types. Texts are remembered, so there must be few: none may depend on a client.
    """
    return await ask(conn, _way(text, types, most), arguments)


def for_several(text: str, types: Types) -> str:
    """The same statement for each of a list of arguments. Parameters are lists of these SQL types; `of_item` says which
    item a row belongs to.

    A parameter in `text` is still a parameter in the plan, so rows are found in the same way.
    """
    given = ", ".join(f"${n}::{'text' if _is_array(kind) else kind}[]" for n, kind in enumerate(types, 1))
    names = [f"p{n}" for n in range(1, len(types) + 1)]
    typed = (f"{name}::{kind} AS {name}" if _is_array(kind) else name for name, kind in zip(names, types, strict=True))
    one = _PARAMETER.sub(r"item.p\1", text)
    return f"""
WITH item AS MATERIALIZED (
  SELECT ord, {", ".join(typed)} FROM unnest({given}) WITH ORDINALITY AS t({", ".join(names)}, ord)
)
SELECT item.ord AS of_item, found.* FROM item CROSS JOIN LATERAL ({one} OFFSET 0) found"""  # noqa: S608


@cache
def _way(text: str, types: Types, most: int = MOST) -> Way[Sequence[Any], Rows]:
    several = for_several(text, types)

    async def alone(conn: Connection, arguments: Sequence[Any]) -> Rows:
        found: Rows = await conn.fetch(text, *arguments)
        return found

    async def together(conn: Connection, items: Sequence[Sequence[Any]]) -> list[Rows]:
        columns = zip(types, zip(*items, strict=True), strict=True)
        given = [list(map(array, column)) if _is_array(kind) else list(column) for kind, column in columns]
        found: list[Rows] = [[] for _ in items]
        for row in await conn.fetch(several, *given):
            found[row["of_item"] - 1].append(row)
        return found

    return Way(text, alone, together, most=most)


def _is_array(kind: str) -> bool:
    return kind.endswith("[]")


def array(values: Iterable[object]) -> str:
    """An array as text, which a cast turns back into one: in an array of arrays, all would need the same length."""
    return _text(tuple(values))


@lru_cache(maxsize=256)
def _text(values: tuple[object, ...]) -> str:
    return once_array(values)


def once_array(values: Iterable[object]) -> str:
    """The same, for values that do not recur."""
    return "{" + ",".join("NULL" if value is None else _quoted(str(value)) for value in values) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
