"""Runs statements about one patient, which may write, in order and in one call on the server with the patient's rows.

Citus plans each statement anew, at the coordinator and again on the server with the rows, and it cannot plan a
statement that writes to several tables. So the texts are passed as arguments to a function that is distributed with the
patient. The function keeps them prepared for the very tables of the part (shard) that the patient is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from ddr.store.database.ask_there import Shape, as_text, name_of, shape_of
from ddr.store.database.functions_there import EACH
from ddr.store.database.pool import Connection, Row
from ddr.store.database.several import once_array
from ddr.store.database.straight import fetch_there

AGAIN_SECONDS = (0.0, 0.05, 0.5)  # pauses before retrying for a moved patient: servers learn of it one by one


class Statement(NamedTuple):
    """A statement as it runs on a single server, and its arguments.

    After FROM, JOIN, INTO or UPDATE it may name tables of the patient and tables that are on all servers. A statement
    that writes within a WITH and returns something is `packed`: it returns arrays of texts, and a row is {"packed":
    texts}. If the last text is STOP, no further statement runs.
    """

    text: str
    arguments: Sequence[Any]
    packed: bool = False


async def each_there(conn: Connection, whose: UUID, statements: Sequence[Statement]) -> list[list[Row]]:
    """The rows of each statement about a spread patient; all of the statements take effect, or none.

    Raises SerializationError in a transaction when the patient was just moved to another server.
    """
    pauses = AGAIN_SECONDS if isinstance(conn, asyncpg.Pool) else ()
    for pause in pauses:
        try:
            return await _each(conn, whose, statements)
        except asyncpg.SerializationError:
            await asyncio.sleep(pause)
    return await _each(conn, whose, statements)


async def _each(conn: Connection, whose: UUID, statements: Sequence[Statement]) -> list[list[Row]]:
    shapes = [await shape_of(conn, statement.text) for statement in statements]
    names = [f"{shape.name}each_" for shape in shapes]
    together = name_of("".join(names))
    given = [
        once_array(as_text(*one) for one in zip(statement.arguments, shape.types, strict=True))
        for statement, shape in zip(statements, shapes, strict=True)
    ]
    # 0: it returns nothing; 1: rows, which are converted to texts; 2: texts, the last of which may stop the sequence.
    tells = [2 if one.packed else int(bool(shape.columns)) for one, shape in zip(statements, shapes, strict=True)]
    rows = await fetch_there(conn, whose, _THERE, whose, together, names, [], [], given, tells)
    if rows and rows[0]["of_item"] == 0:
        kinds = [", ".join(shape.types) for shape in shapes]
        texts = [_telling(shape, one.packed) for one, shape in zip(statements, shapes, strict=True)]
        rows = await fetch_there(conn, whose, _THERE, whose, together, names, texts, kinds, given, tells)
    found: list[list[Row]] = [[] for _ in statements]
    for row in rows:
        place, texts = row["of_item"] - 1, row["row_texts"]
        found[place].append({"packed": texts} if statements[place].packed else _row(shapes[place], texts))
    return found


_THERE = f"SELECT * FROM {EACH}($1, $2, $3, $4, $5, $6, $7)"  # noqa: S608 - a name of ours


def _telling(shape: Shape, packed: bool) -> str:
    """The statement as it is prepared: it returns its rows as arrays of texts."""
    if packed or not shape.columns:
        return shape.text
    columns = ", ".join(f'said."{name}"::text' for name, _ in shape.columns)
    return f"WITH said AS ({shape.text}) SELECT ARRAY[{columns}] FROM said"  # noqa: S608 - texts of ours


def _row(shape: Shape, texts: Sequence[str | None]) -> Row:
    return {
        name: None if text is None else _READ[kind](text)
        for (name, kind), text in zip(shape.columns, texts, strict=True)
    }


def _numbers(text: str) -> list[int | None]:
    """Parses the text of an array of integers, such as `{1,NULL}`."""
    return [None if one == "NULL" else int(one) for one in text[1:-1].split(",")] if text != "{}" else []


_READ: Mapping[str, Callable[[str], Any]] = {  # as asyncpg returns them
    "text": str,
    "int2": int,
    "int4": int,
    "int8": int,
    "bool": lambda text: text == "true",
    "bytea": lambda text: bytes.fromhex(text[2:]),
    "numeric": Decimal,
    "uuid": UUID,
    "jsonb": orjson.loads,
    "int4[]": _numbers,
    "int8[]": _numbers,
}
