"""A whole search in one statement: matches, sorting, page, the rest for later pages, and what is included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from ddr.fhir.search.query import Include, Search
from ddr.store.database.ids import Kind
from ddr.store.database.sweeping import delete_due
from ddr.store.search.comparisons import Parameters
from ddr.store.search.conditions import POINTERS, TABLES, Conditions, Names
from ddr.store.search.rows import COLUMNS, ROWS, lookups
from ddr.store.search.sources import View

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """One page. `total` counts the matches of all pages, `rest_no` names the list of those after the first page.

    `at_ms` is the newest stamp that could be shown: what the patient's data become later has a newer one.
    """

    total: int
    rest_no: int | None
    matches: list[Row]
    related: list[Row]
    at_ms: int


@dataclass(frozen=True)
class RestPage:
    """Which part of a rest a later page shows: `count` items after the first `offset`.

    `until_ms`: without those that have a newer stamp by now; None: all.
    """

    rest_no: int
    offset: int
    count: int
    until_ms: int | None


async def first_page(
    pool: asyncpg.Pool, view: View, names: Names, search: Search, count: int, expires_ms: int
) -> Found:
    """The first `count` matches and what is to be included with them; the rest is kept until `expires_ms`.

    With `count` 0 only `total` is found.
    """
    conditions = Conditions(names, Parameters(view.parameters()))
    limit = conditions.parameters.bind(count, "bigint")
    parts = [view.sources(), _match(search, conditions), f"\npage AS (SELECT * FROM match WHERE ord <= {limit})"]
    if count:
        parts.append(_rest(limit, conditions.parameters.bind(expires_ms, "bigint")))
    head = f"(SELECT count(*) FROM match) AS total, {'(SELECT rest_no FROM rest)' if count else 'NULL'} AS rest_no"
    return await _run(pool, view.observed, parts, head, search, conditions.parameters)


async def later_page(pool: asyncpg.Pool, view: View, search: Search, rest: RestPage) -> Found:
    """A part of the rest of an earlier search; of `search` only type and includes count. `total` is of this page."""
    parameters = Parameters(view.parameters())
    rest_no, offset, count, until = (
        parameters.bind(part, "bigint") for part in (rest.rest_no, rest.offset, rest.count, rest.until_ms)
    )
    # still joined with what may be seen now: a consent may have been withdrawn since the first page
    page = f"""
page AS (
  SELECT r.ord, o.kind, o.no, o.k
    FROM search_rest s
    CROSS JOIN LATERAL unnest(s.kinds, s.nos, s.ks) WITH ORDINALITY AS r(kind, no, k, ord)
    JOIN {TABLES[search.resource_type]} o ON (o.kind, o.no, o.k) = (r.kind, r.no, r.k)
   WHERE s.patient_id = $1 AND s.rest_no = {rest_no} AND s.expires_ms > $5::bigint
     AND r.ord > {offset} AND r.ord <= {offset} + {count} AND ({until} IS NULL OR o.updated_ms <= {until})
)"""
    head = "(SELECT count(*) FROM page) AS total, NULL AS rest_no"
    return await _run(pool, view.observed, [view.sources(), page], head, search, parameters)


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


def _rest(limit: str, expires: str) -> str:
    return f"""
rest AS (
  INSERT INTO search_rest (patient_id, expires_ms, kinds, nos, ks)
  SELECT $1, {expires}, array_agg(kind ORDER BY ord), array_agg(no ORDER BY ord), array_agg(k ORDER BY ord)
    FROM match WHERE ord > {limit} HAVING count(*) > 0
  RETURNING rest_no
)"""


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
    pool: asyncpg.Pool, observed: frozenset[Kind], parts: list[str], head: str, search: Search, parameters: Parameters
) -> Found:
    query = f"""WITH {",".join(parts)},
related AS ({_related(search)}),
hit AS (
  SELECT ord, true AS matched, kind, no, k FROM page
  UNION ALL
  SELECT NULL, false, kind, no, k FROM related
),{lookups(observed)}
SELECT head.*, {COLUMNS}
  FROM (SELECT {head}) head LEFT JOIN ({ROWS}) ON true
 ORDER BY o.ord"""
    found = await pool.fetch(query, *parameters.values)
    matches = [row for row in found if row["matched"]]
    related = [row for row in found if row["matched"] is False]
    return Found(found[0]["total"], found[0]["rest_no"], matches, related, found[0]["at_ms"])
