"""A whole search in one statement: matches, sorting, page, the rest for later pages, and what is included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from ddr.fhir.search.query import Include, Search
from ddr.store.database.ask_there import fetch_of_patient
from ddr.store.database.ids import Kind
from ddr.store.database.sweeping import delete_due
from ddr.store.search.comparisons import Parameters
from ddr.store.search.conditions import POINTERS, TABLES, Conditions, Names
from ddr.store.search.rows import COLUMNS, ROWS, lookups
from ddr.store.search.sources import View

Row = Mapping[str, Any]
Keys = Sequence[tuple[int, int, int]]  # kind, no, k

FEW = 200  # keys that a link to the next page holds itself: most of them are never followed, and nothing is written


@dataclass(frozen=True)
class Found:
    """One page. `total` counts the matches of all pages; `rest` lists those after the first page when they are few,
    else `rest_no` names the stored list.

    `at_ms` is the newest stamp that could be shown: what the patient's data become later has a newer one.
    """

    total: int
    rest_no: int | None
    matches: list[Row]
    related: list[Row]
    at_ms: int
    rest: Keys = ()


@dataclass(frozen=True)
class RestPage:
    """Which part of a rest a later page shows: `keys`, or of the stored list `count` items after the first `offset`.

    `until_ms`: without those that have a newer stamp by now; None: all.
    """

    rest_no: int | None
    offset: int
    count: int
    until_ms: int | None
    keys: Keys = ()


async def first_page(
    pool: asyncpg.Pool, view: View, names: Names, search: Search, count: int, expires_ms: int
) -> Found:
    """The first `count` matches and what is to be included with them; a long rest is kept until `expires_ms`.

    With `count` 0 only `total` is found.
    """
    conditions = Conditions(names, Parameters(view.parameters()))
    limit = conditions.parameters.bind(count, "bigint")
    parts = [view.sources(), _match(search, conditions), f"\npage AS (SELECT * FROM match WHERE ord <= {limit})"]
    if count:
        parts.append(_others(limit))
    total = "SELECT count(*) FROM match"
    found = await _run(pool, view.observed, parts, total, search, conditions.parameters, following=count > 0)
    if not count or (first := found.matches[0] if found.matches else None) is None or first["rest_kinds"] is None:
        return found
    columns = first["rest_kinds"], first["rest_nos"], first["rest_ks"]
    if len(columns[0]) > FEW:
        return replace(found, rest_no=await pool.fetchval(_KEEP, view.patient_id, expires_ms, *columns))
    return replace(found, rest=tuple(zip(*columns, strict=True)))


async def later_page(pool: asyncpg.Pool, view: View, search: Search, rest: RestPage) -> Found:
    """A part of the rest of an earlier search; of `search` only type and includes count. `total` is of this page."""
    parameters = Parameters(view.parameters())
    until = parameters.bind(rest.until_ms, "bigint")
    # still joined with what may be seen now: a consent may have been withdrawn since the first page
    page = f"""
page AS (
  SELECT r.ord, o.kind, o.no, o.k
    FROM {_listed(rest, parameters)} r
    JOIN {TABLES[search.resource_type]} o ON (o.kind, o.no, o.k) = (r.kind, r.no, r.k)
   WHERE {until} IS NULL OR o.updated_ms <= {until}
)"""
    total = "SELECT count(*) FROM page"
    return await _run(pool, view.observed, [view.sources(), page], total, search, parameters)


def _listed(rest: RestPage, parameters: Parameters) -> str:
    """The keys of a later page, from the link or from the list that is stored."""
    if rest.rest_no is None:
        columns = list(zip(*rest.keys, strict=True)) or [(), (), ()]
        types = ("smallint[]", "bigint[]", "bigint[]")
        arrays = [parameters.bind(list(column), kind) for column, kind in zip(columns, types, strict=True)]
        return f"(SELECT * FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS t(kind, no, k, ord))"
    rest_no, offset, count = (parameters.bind(part, "bigint") for part in (rest.rest_no, rest.offset, rest.count))
    return f"""(
      SELECT t.kind, t.no, t.k, t.ord
        FROM search_rest s CROSS JOIN LATERAL unnest(s.kinds, s.nos, s.ks) WITH ORDINALITY AS t(kind, no, k, ord)
       WHERE s.patient_id = $1 AND s.rest_no = {rest_no} AND s.expires_ms > $5::bigint
         AND t.ord > {offset} AND t.ord <= {offset} + {count})"""


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete the rests whose links have expired."""
    await delete_due(pool, "search_rest", "expires_ms", now_ms + 1)


def _match(search: Search, conditions: Conditions) -> str:
    resource_type = search.resource_type
    where = conditions.all_of(resource_type, search.filters, search.has)
    order = conditions.order(resource_type, search.sort)
    return f"""
match AS MATERIALIZED (
  SELECT row_number() OVER (ORDER BY {order}) AS ord, o.kind, o.no, o.k FROM {TABLES[resource_type]} o WHERE {where}
)"""


def _others(limit: str) -> str:
    return f"""
others AS MATERIALIZED (
  SELECT array_agg(kind ORDER BY ord) AS rest_kinds, array_agg(no ORDER BY ord) AS rest_nos,
         array_agg(k ORDER BY ord) AS rest_ks
    FROM match WHERE ord > {limit}
)"""


# Long rests are rare: a statement that may write costs more than one that only reads, also where it does not.
_KEEP = """
INSERT INTO search_rest (patient_id, expires_ms, kinds, nos, ks) VALUES ($1, $2, $3, $4, $5) RETURNING rest_no"""


def _related(search: Search) -> str:
    """Keys of what is included beside the Device and DeviceMetric that the rows of matches bring with them."""
    found = ["SELECT kind, no, k FROM page WHERE false"]
    if any((include.source, include.name) == ("Observation", "derived-from") for include in search.includes):
        pointer = POINTERS["Observation", "derived-from", "Observation"]
        origins = f"SELECT {pointer} FROM seen o JOIN page USING (kind, no, k)"
        found.append(f"SELECT o.kind, o.no, o.k FROM seen o WHERE (o.kind, o.no) IN ({origins})")
    found += [_reverse(include, search.resource_type) for include in search.revincludes]
    return "\nUNION ".join(part for part in found if part)


def _reverse(include: Include, resource_type: str) -> str:
    """Keys of the resources that point to the page; nothing when the reference points elsewhere."""
    pointer = POINTERS.get((include.source, include.name, resource_type))
    if pointer is None or include.target not in (None, resource_type):
        return ""
    # not an EXISTS for each row, which would go through the page as often as there are rows
    return f"""
SELECT o.kind, o.no, o.k FROM {TABLES[include.source]} o
 CROSS JOIN LATERAL (SELECT {pointer}) AS p(to_kind, to_no)
 WHERE (p.to_kind, p.to_no) IN (SELECT kind, no FROM page)"""


async def _run(
    pool: asyncpg.Pool,
    observed: frozenset[Kind],
    parts: list[str],
    total: str,
    search: Search,
    parameters: Parameters,
    following: bool = False,
) -> Found:
    columns, rows = COLUMNS, f"({ROWS}) ON true"
    if following:  # beside the first match, what follows the page
        columns, rows = f"{columns}, others.*", f"{rows} LEFT JOIN others ON o.ord = 1"
    query = f"""WITH {",".join(parts)},
related AS ({_related(search)}),
hit AS (
  SELECT ord, true AS matched, kind, no, k FROM page
  UNION ALL
  SELECT NULL, false, kind, no, k FROM related
),{lookups(observed)}
SELECT head.*, {columns}
  FROM (SELECT ({total}) AS total) head LEFT JOIN {rows}
 ORDER BY o.ord"""
    found = await fetch_of_patient(pool, query, *parameters.values)
    matches = [row for row in found if row["matched"]]
    related = [row for row in found if row["matched"] is False]
    return Found(found[0]["total"], None, matches, related, found[0]["at_ms"])
