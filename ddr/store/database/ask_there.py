"""A statement that reads of one patient, asked where the patient's rows are: it is planned there, once for a session.

Citus plans a long statement anew each time, at the coordinator and again where the rows are, for ten times what
executing it costs. So the text goes as an argument of a function that is distributed with the patient, which keeps it
prepared on the very tables of the part (shard) that the patient is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import asyncpg
import orjson

from ddr.store.database.placing import PLACES, Where
from ddr.store.database.pool import Connection
from ddr.store.database.prepared import LONGEST_CACHED
from ddr.store.database.several import array
from ddr.store.database.spreading import is_spread

NAME = "ddr_ask_1"  # another number for another meaning, so that two versions can run beside each other
SIGNATURE = f"{NAME}(uuid, text, text, text, text[])"
KEPT = 64  # statements in a session of a server, each for one part; beyond, all are planned anew

# A part that is not on this server is left to Citus, which finds it; and so is everything where there is no Citus. What
# was prepared on a table that is gone is planned anew by its name.
FUNCTION = rf"""
CREATE OR REPLACE FUNCTION {NAME}(whose uuid, called text, said text, types text, given text[])
RETURNS SETOF record LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET jit = off AS $function$
DECLARE
    part bigint := 0;
    part_of record;
    kept record;
    ask text;
BEGIN
    IF to_regclass('pg_dist_shard') IS NOT NULL THEN
        part := get_shard_id_for_distribution_column('patient', whose);
        IF to_regclass(shard_name('patient'::regclass, part)) IS NULL THEN
            part := 0;
        END IF;
    END IF;
    ask := format('EXECUTE %I (%s)', called || part, (SELECT string_agg(quote_nullable(one), ',' ORDER BY n)
                                                       FROM unnest(given) WITH ORDINALITY AS t (one, n)));
    BEGIN
        RETURN QUERY EXECUTE ask;
        RETURN;
    EXCEPTION WHEN invalid_sql_statement_name OR syntax_error THEN
        NULL;  -- it is not prepared
    END;
    IF (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'ddr\_%') >= {KEPT} THEN
        FOR kept IN SELECT name FROM pg_prepared_statements WHERE name LIKE 'ddr\_%' LOOP
            EXECUTE format('DEALLOCATE %I', kept.name);
        END LOOP;
    END IF;
    IF part <> 0 THEN
        FOR part_of IN
            SELECT o.logicalrelid::text AS name, shard_name(o.logicalrelid, o.shardid) AS here
              FROM pg_dist_shard s
              JOIN pg_dist_partition p ON p.logicalrelid = s.logicalrelid
              JOIN pg_dist_partition q ON q.colocationid = p.colocationid
              JOIN pg_dist_shard o ON o.logicalrelid = q.logicalrelid AND o.shardminvalue = s.shardminvalue
             WHERE s.shardid = part
        LOOP
            said := replace(said, format('/*%s*/%s', part_of.name, part_of.name), part_of.here);
        END LOOP;
    END IF;
    EXECUTE format('PREPARE %I (%s) AS %s', called || part, types, said);
    RETURN QUERY EXECUTE ask;
END $function$"""  # noqa: S608 - texts of ours

_TABLES = "|".join(table for table, place in PLACES.items() if place.where is Where.PATIENT)
_ASKED = re.compile(rf"\b(FROM|JOIN)(\s+)({_TABLES})\b")  # marked by a comment, in which nothing changes elsewhere


class _Shape(NamedTuple):
    """Of a statement: what it is called, its text with the tables marked, and its parameters' and columns' types."""

    called: str
    said: str
    types: tuple[str, ...]
    columns: str


_SHAPES: dict[str, _Shape] = {}
_MOST = 300  # then they are found out anew: 14 MB at most


async def fetch_of_patient(conn: Connection, text: str, *arguments: Any) -> list[asyncpg.Record]:
    """What `text` finds, which only reads, and of one patient, who is $1. On one server it is asked as it stands.

    It names tables of a patient after FROM or JOIN, and no others that are spread. What is long by the values that a
    client sent is not prepared either: it comes once, and would take megabytes of each session.
    """
    rows: list[asyncpg.Record]
    if not is_spread(conn) or len(text) > LONGEST_CACHED:
        rows = await conn.fetch(text, *arguments)
        return rows
    shape = _SHAPES.get(text) or await _learn(conn, text)
    there = f"SELECT * FROM {NAME}($1, $2, $3, $4, $5) AS t ({shape.columns})"  # noqa: S608 - names of columns
    given = [_as_text(*one) for one in zip(arguments, shape.types, strict=True)]
    rows = await conn.fetch(there, arguments[0], shape.called, shape.said, ", ".join(shape.types), given)
    return rows


async def _learn(conn: Connection, text: str) -> _Shape:
    """Of what types parameters and columns are, as the database says."""
    if isinstance(conn, asyncpg.Pool):
        async with conn.acquire() as own:
            return await _learn(own, text)
    statement = await conn.prepare(text)
    columns = ", ".join(f'"{each.name}" {each.type.name}' for each in statement.get_attributes())
    types = tuple(each.name for each in statement.get_parameters())
    if len(_SHAPES) >= _MOST:
        _SHAPES.clear()
    _SHAPES[text] = found = _Shape(called(text), marked(text), types, columns)
    return found


def marked(text: str) -> str:
    """A statement in which the function finds the tables that lie with the patient."""
    return _ASKED.sub(r"\1\2/*\3*/\3", text)


def called(text: str) -> str:
    """What a statement is called where it is prepared; the part's number follows."""
    return f"ddr_{sha256(text.encode()).hexdigest()[:24]}_"


def _as_text(value: object, kind: str) -> str | None:
    """A parameter of this SQL type as the database reads it from a text."""
    if value is None:
        return None
    if kind in ("json", "jsonb"):  # as ddr.store.database.pool has it
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
