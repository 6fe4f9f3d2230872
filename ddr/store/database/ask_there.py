"""Runs a statement that reads data of one patient on the server with the patient's rows, planned once per session.

Citus plans a long statement anew each time, at the coordinator and again on the server with the rows, which costs ten
times as much as executing it. So the text is passed as an argument to a function that is distributed with the patient.
The function keeps it prepared for the very tables of the part (shard) that the patient is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import asyncpg
import orjson

from ddr.store.database.functions_there import ASK
from ddr.store.database.placing import PLACES, Where
from ddr.store.database.pool import Connection
from ddr.store.database.prepared import LONGEST_CACHED
from ddr.store.database.several import array
from ddr.store.database.spreading import is_spread
from ddr.store.database.straight import fetch_there

LONG = 2_000  # characters of a text that is sent only when it is not prepared yet: reading 15,000 of them takes 0.3 ms

_TABLES = "|".join(table for table, place in PLACES.items() if place.where in (Where.PATIENT, Where.REFERENCE))
# Marked by a comment, which changes nothing elsewhere.
_ASKED = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE)(\s+)({_TABLES})\b")


class Shape(NamedTuple):
    """What a statement needs to be run there: the name under which it is prepared, its text with the tables marked, the
    types of its parameters, and its columns with their types."""

    name: str
    text: str
    types: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]

    @property
    def listed(self) -> str:
        """The columns as SQL, for a function that may return any."""
        return ", ".join(f'"{name}" {kind}' for name, kind in self.columns)


_SHAPES: dict[str, Shape] = {}
_MOST = 300  # beyond it, shapes are found out anew; 14 MB at most


async def fetch_of_patient(conn: Connection, text: str, *arguments: Any) -> list[asyncpg.Record]:
    """The rows of the statement `text`, which only reads, and only data of one patient, who is its $1.

    After FROM or JOIN it may name tables of a patient and tables that are on all servers, but no others that are
    spread. On a single server it runs as it is. So does a statement that is long because of the values that a client
    sent: prepared, it would take megabytes of a session, and it is not repeated.
    """
    rows: list[asyncpg.Record]
    if not is_spread(conn) or len(text) > LONGEST_CACHED:
        rows = await conn.fetch(text, *arguments)
        return rows
    shape = await shape_of(conn, text)
    there = f"SELECT * FROM {ASK}($1, $2, $3, $4, $5) AS t ({shape.listed})"  # noqa: S608 - names of columns
    given = [as_text(*one) for one in zip(arguments, shape.types, strict=True)]
    types = ", ".join(shape.types)
    whose, rows = arguments[0], []
    if len(text) > LONG:
        rows = await fetch_there(conn, whose, there, whose, shape.name, "", types, given)
    return rows or await fetch_there(conn, whose, there, whose, shape.name, shape.text, types, given)


async def shape_of(conn: Connection, text: str) -> Shape:
    """The types of parameters and columns, as the database says; remembered."""
    if (known := _SHAPES.get(text)) is not None:
        return known
    if isinstance(conn, asyncpg.Pool):
        async with conn.acquire() as own:
            return await shape_of(own, text)
    statement = await conn.prepare(text)
    columns = tuple((each.name, each.type.name) for each in statement.get_attributes())
    types = tuple(each.name for each in statement.get_parameters())
    await conn.execute("SELECT 1")  # only preparing would leave the session active, with locks, and its time running on
    if len(_SHAPES) >= _MOST:
        _SHAPES.clear()
    _SHAPES[text] = found = Shape(name_of(text), marked(text), types, columns)
    return found


def marked(text: str) -> str:
    """A statement in which the function can find the tables that are stored with the patient."""
    return _ASKED.sub(r"\1\2/*\3*/\3", text)


def name_of(text: str) -> str:
    """The name under which a statement is prepared; the part's number is appended."""
    return f"ddr_{sha256(text.encode()).hexdigest()[:24]}_"


def as_text(value: object, kind: str) -> str | None:
    """A parameter of this SQL type, as text that the database can read."""
    if value is None:
        return None
    if kind in ("json", "jsonb"):  # as in ddr.store.database.pool
        return orjson.dumps(value).decode()
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return rf"\x{value.hex()}"
        case str():
            return value
        case Decimal():
            return format(value, "f")
        case Iterable():
            return array(value)
        case _:
            return str(value)
