"""Entries of the audit trail that are not packed yet, by number, as text that is parsed outside the event loop."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import orjson

from ddr.store.database.pool import Connection, Row


class Entry(NamedTuple):
    """One entry of the trail; its instant in milliseconds."""

    audit_no: int
    patient_id: str
    at_ms: int
    event: str
    client_id: str | None
    pairing_id: str | None
    detail: dict[str, Any]


class Slice(NamedTuple):
    """Entries as the database wrote them, and the number up to which all entries were packed at that moment."""

    packed_upto: int
    text: str | None

    def entries(self) -> list[Entry]:
        """The entries by number. There may be many, so call it outside the event loop."""
        return [Entry(*values) for values in read_json(self.text)] if self.text else []


def read_json(text: str) -> Any:
    """Parses what the database wrote. Numbers in `detail` that are too large for us stay texts; none of ours are, but
    an entry that somebody else has put there must not keep the others from being sealed. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> Any:
    return text if math.isinf(float(text)) else orjson.loads(text)


# One text instead of rows: asyncpg would make objects of rows on the event loop.
_COLUMNS = ", ".join(Entry._fields)
_SLICE = f"""
SELECT audit_packed_upto() AS packed_upto,
       (SELECT json_agg(json_build_array({_COLUMNS}) ORDER BY audit_no)
          FROM (SELECT {_COLUMNS} FROM audit WHERE audit_no > $1 AND audit_no <= $2 {{}}
                 ORDER BY audit_no LIMIT $3) AS e
       )::text AS entries"""  # noqa: S608 - names of ours
_MATCHING = """
  AND ($4::bigint IS NULL OR at_ms >= $4) AND ($5::bigint IS NULL OR at_ms < $5)
  AND ($6::text IS NULL OR client_id = $6) AND ($7::text IS NULL OR pairing_id = $7)
  AND ($8::text IS NULL OR starts_with(event, $8))"""
WANTED = ("from_ms", "until_ms", "client_id", "pairing_id", "event")
LAST = 2**63 - 1  # the greatest number of an entry or a seal


async def between(conn: Connection, after_no: int, upto_no: int, count: int | None = None) -> Slice:
    """Entries with numbers above `after_no` up to `upto_no`, ascending; the first `count` of them."""
    return Slice(*await conn.fetchrow(_SLICE.format(""), after_no, upto_no, count))


async def matching(conn: Connection, wanted: Row, after_no: int, count: int) -> Slice:
    """The first `count` entries after number `after_no` that match `wanted`.

    The keys of `wanted`, each of which may be None: from_ms, until_ms (exclusive), client_id, pairing_id, event (a
    prefix).
    """
    values = (wanted[name] for name in WANTED)
    return Slice(*await conn.fetchrow(_SLICE.format(_MATCHING), after_no, LAST, count, *values))


def fits(entry: Entry, wanted: Row) -> bool:
    """True for an entry that `matching` finds under these conditions."""
    from_ms, until_ms, client_id, pairing_id, event = (wanted[name] for name in WANTED)
    return (
        (from_ms is None or entry.at_ms >= from_ms)
        and (until_ms is None or entry.at_ms < until_ms)
        and client_id in (None, entry.client_id)
        and pairing_id in (None, entry.pairing_id)
        and (event is None or entry.event.startswith(event))
    )


_UNSEALED = "FROM audit WHERE audit_no > coalesce((SELECT upto_no FROM audit_seal ORDER BY seal_no DESC LIMIT 1), 0)"


async def unsealed(conn: Connection) -> int:
    """How many entries no seal covers."""
    count: int = await conn.fetchval(f"SELECT count(*) {_UNSEALED}")
    return count


async def oldest_unsealed_ms(conn: Connection) -> int | None:
    """When the oldest entry that no seal covers was made; None when there is none."""
    at_ms: int | None = await conn.fetchval(f"SELECT at_ms {_UNSEALED} ORDER BY audit_no LIMIT 1")
    return at_ms
