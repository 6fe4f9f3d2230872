"""A whole search in one statement: matches, sorting, page, the rest for later pages, and included resources.

In the order of ids it takes two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from uuid import UUID

import asyncpg

from ddr.aside import LARGE_ITEMS, aside
from ddr.fhir.search.query import DateValue, Include, Search, Sort
from ddr.store.database.ask_there import fetch_of_patient
from ddr.store.database.each_there import Statement
from ddr.store.database.ids import IdCipher, Kind
from ddr.store.database.pool import Row
from ddr.store.database.prepared import LONGEST_CACHED
from ddr.store.database.several import fetch_together
from ddr.store.database.spreading import is_spread
from ddr.store.database.sweeping import delete_due
from ddr.store.search.comparisons import Parameters
from ddr.store.search.conditions import POINTERS, TABLES, Conditions, Names
from ddr.store.search.rows import COLUMNS, ROWS, lookups
from ddr.store.search.sources import sources_of
from ddr.store.search.view import NOW, PARAMETERS, View

Keys = Sequence[tuple[int, int, int]]  # kind, no, k

KNOWN, LONGEST_KNOWN = 256, 2_000  # texts of first pages to remember, and the longest conditions of one
FEW_MATCHES = 20  # the most of a search without `_lastUpdated` that shares a statement
FEW_SEARCHES = 4  # that share one: nobody should wait long for the others
_POLLS_SORT = ((), (Sort("date", False),), (Sort("date", True),))
_POLLS_PREFIXES = (["gt"], ["ge"], ["gt", "lt"], ["gt", "le"], ["ge", "lt"], ["ge", "le"])


@dataclass(frozen=True)
class Found:
    """One page. `total` counts the matches of all pages; `rest` lists those after the first page.

    `at_ms` is the newest timestamp that could be shown: any later change of the patient's data has a newer one.
    """

    total: int
    matches: list[Row]
    related: list[Row]
    at_ms: int
    rest: Keys = ()


@dataclass(frozen=True)
class RestPage:
    """Which part of a rest a later page shows: `keys`, or `count` items of the stored list after the first `offset`.

    `until_ms`: leave out those whose timestamp is newer by now; None: none.
    """

    rest_no: int | None
    offset: int
    count: int
    until_ms: int | None
    keys: Keys = ()


async def first_page(
    pool: asyncpg.Pool, view: View, names: Names, search: Search, count: int, fetched: Sequence[Row] | None = None
) -> Found:
    """The first `count` matches and the resources to include with them.

    With `count` 0 only `total` is found. Concurrent searches for few resources share a statement. `fetched`: the
    rows of `first_page_statement`, if it was run already.
    """
    if count and _sorts_by_id(search):
        return await _first_by_id(pool, view, names, search, count)
    if fetched is None:
        text, parameters = _first_text(view, names, search, count)
        fetched = await _fetch(pool, text, parameters, together=brief(search, count))
    found = _found(fetched)
    first = found.matches[0] if found.matches else None
    if first is None or first["rest_kinds"] is None:
        return found
    return replace(found, rest=tuple(zip(first["rest_kinds"], first["rest_nos"], first["rest_ks"], strict=True)))


async def keep(pool: asyncpg.Pool, patient_id: UUID, keys: Keys, expires_ms: int) -> int:
    """Store, until `expires_ms`, a rest that is too long for a link; the number that names it in `RestPage`."""
    number: int = await pool.fetchval(_KEEP, patient_id, expires_ms, *map(list, zip(*keys, strict=True)))
    return number


def first_page_statement(view: View, names: Names, search: Search, count: int) -> Statement | None:
    """The statement of a first page that finds little, to be sent along with another; None for all other searches."""
    polls = any(item.name == "_lastUpdated" for item in search.filters)
    finds_little = count > 0 and (polls or count <= FEW_MATCHES)
    if search.has or search.revincludes or _sorts_by_id(search) or not finds_little:
        return None
    text, parameters = _first_text(view, names, search, count)
    return Statement(text, parameters.values) if len(text) <= LONGEST_CACHED else None


def _sorts_by_id(search: Search) -> bool:
    return any(key.name == "_id" for key in search.sort)


async def _first_by_id(pool: asyncpg.Pool, view: View, names: Names, search: Search, count: int) -> Found:
    """`first_page` in the order of ids, which only `names` knows: the database finds the keys of all matches, and a
    `place` by what comes before the id in the order, which equal ones share.
    """
    parameters = Parameters(view.parameters())
    conditions = Conditions(names, parameters)
    at = [key.name for key in search.sort].index("_id")
    before, by_id = search.sort[:at], search.sort[at]
    where = conditions.all_of(search.resource_type, search.filters, search.has)
    order = ", ".join(conditions.keys(search.resource_type, before)) or "true"
    text = _places(view.observed, search.resource_type, where, order)
    (row,) = await fetch_of_patient(pool, text, *parameters.values)
    keys = await aside(row["total"] > LARGE_ITEMS, _in_order, row, names.ids, by_id.descending)
    until_ms = row["at_ms"] if any(item.name == "_lastUpdated" for item in search.filters) else None
    page = await later_page(pool, view, search, RestPage(None, 0, count, until_ms, keys[:count]))
    return replace(page, total=row["total"], at_ms=row["at_ms"], rest=keys[count:])


def _places(observed: frozenset[Kind], resource_type: str, where: str, order: str) -> str:
    return f"""WITH {sources_of(observed, numbered=False)},
match AS (
  SELECT o.kind, o.no, o.k, dense_rank() OVER (ORDER BY {order}) AS place FROM {TABLES[resource_type]} o WHERE {where}
)
SELECT {NOW} AS at_ms, count(*) AS total,
       array_agg(kind) AS kinds, array_agg(no) AS nos, array_agg(k) AS ks, array_agg(place) AS places
  FROM match"""


def _in_order(row: Row, ids: IdCipher, descending: bool) -> Keys:
    """The keys of `_places`, by place and then by id."""
    columns = [row[name] or () for name in ("kinds", "nos", "ks", "places")]
    found = [((kind, no, k), place) for kind, no, k, place in zip(*columns, strict=True)]
    found.sort(key=lambda one: ids.encode(Kind(one[0][0]), *one[0][1:]), reverse=descending)
    found.sort(key=lambda one: one[1])
    return [key for key, _ in found]


def _first_text(view: View, names: Names, search: Search, count: int) -> tuple[str, Parameters]:
    resource_type, parameters = search.resource_type, Parameters(view.parameters())
    conditions = Conditions(names, parameters)
    where = conditions.all_of(resource_type, search.filters, search.has)
    order = conditions.order(resource_type, search.sort if count else ())
    limit = parameters.bind(count, "bigint")
    known = _first_known if len(where) <= LONGEST_KNOWN else _first
    return known(view.observed, resource_type, where, order, limit, _related(search), count > 0), parameters


async def later_page(pool: asyncpg.Pool, view: View, search: Search, rest: RestPage) -> Found:
    """A part of the rest of an earlier search; of `search` only type and includes count. `total` is this page's."""
    parameters = Parameters(view.parameters())
    until = parameters.bind(rest.until_ms, "bigint")
    # Still looked up among what may be seen now: a consent may have been withdrawn since the first page. A planner that
    # expects few rows would compare each with each key, or look for all of them anew for each key; IS TRUE and
    # MATERIALIZED prevent it: the keys are hashed once, and only what they find is joined with their order.
    page = f"""
listed AS MATERIALIZED ({_listed(rest, parameters)}),
visible AS MATERIALIZED (
  SELECT o.kind, o.no, o.k, o.updated_ms FROM {TABLES[search.resource_type]} o
   WHERE ((o.kind, o.no, o.k) IN (SELECT kind, no, k FROM listed)) IS TRUE
), page AS (
  SELECT r.ord, o.kind, o.no, o.k FROM listed r JOIN visible o USING (kind, no, k)
   WHERE {until} IS NULL OR o.updated_ms <= {until}
)"""
    text = _text(view.observed, [sources_of(view.observed, numbered=False), page], "page", _related(search))
    return _found(await _fetch(pool, text, parameters))


def _listed(rest: RestPage, parameters: Parameters) -> str:
    """The keys of a later page, from the link or from the stored list."""
    if rest.rest_no is None:
        columns = list(zip(*rest.keys, strict=True)) or [(), (), ()]
        types = ("smallint[]", "bigint[]", "bigint[]")
        arrays = [parameters.bind(list(column), kind) for column, kind in zip(columns, types, strict=True)]
        return f"SELECT * FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS t(kind, no, k, ord)"
    rest_no, offset, count = (parameters.bind(part, "bigint") for part in (rest.rest_no, rest.offset, rest.count))
    return f"""
      SELECT t.kind, t.no, t.k, t.ord
        FROM search_rest s CROSS JOIN LATERAL unnest(s.kinds, s.nos, s.ks) WITH ORDINALITY AS t(kind, no, k, ord)
       WHERE s.patient_id = $1 AND s.rest_no = {rest_no} AND s.expires_ms > $5::bigint
         AND t.ord > {offset} AND t.ord <= {offset} + {count}"""


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete the rests whose links have expired."""
    await delete_due(pool, "search_rest", "expires_ms", now_ms + 1)


def brief(search: Search, count: int) -> bool:
    """Whether a search may share its statement with others. The searches of polls have few different texts; a search
    that finds much would keep the others waiting.
    """
    polled = [item for item in search.filters if item.name == "_lastUpdated"]
    if search.resource_type != "Observation" or len(polled) < len(search.filters) or search.has or search.revincludes:
        return False
    if search.sort not in _POLLS_SORT:
        return False
    if not polled:  # and no other filter either
        return 0 < count <= FEW_MATCHES
    prefixes = [value.prefix for item in polled for value in item.values if isinstance(value, DateValue)]
    return count > 0 and prefixes in _POLLS_PREFIXES


def _first(
    observed: frozenset[Kind], resource_type: str, where: str, order: str, limit: str, related: str, following: bool
) -> str:
    """The statement of a first page; `following`: also find what follows the page.

    `match` has all matches, numbered in their order, `page` the first of them, `others` the keys of the rest in one
    row.
    """
    match = f"""
match AS MATERIALIZED (
  SELECT row_number() OVER (ORDER BY {order}) AS ord, o.kind, o.no, o.k FROM {TABLES[resource_type]} o WHERE {where}
)"""
    parts = [sources_of(observed, numbered=False), match, f"\npage AS (SELECT * FROM match WHERE ord <= {limit})"]
    if following:
        parts.append(_others(limit))
    return _text(observed, parts, "match", related, following)


_first_known = lru_cache(maxsize=KNOWN)(_first)


def _others(limit: str) -> str:
    return f"""
others AS MATERIALIZED (
  SELECT array_agg(kind ORDER BY ord) AS rest_kinds, array_agg(no ORDER BY ord) AS rest_nos,
         array_agg(k ORDER BY ord) AS rest_ks
    FROM match WHERE ord > {limit}
)"""


# Stored rests are rare, and a statement that may write costs more than one that only reads, even when it does not
# write.
_KEEP = """
INSERT INTO search_rest (patient_id, expires_ms, kinds, nos, ks) VALUES ($1, $2, $3, $4, $5) RETURNING rest_no"""


def _related(search: Search) -> str:
    """Keys of what is included, except the Device and DeviceMetric that the rows of matches already contain."""
    reverse = [part for include in search.revincludes if (part := _reverse(include, search.resource_type))]
    found = ["SELECT kind, no, k FROM page WHERE false", *reverse]
    derived = [one for one in search.includes if (one.source, one.name) == ("Observation", "derived-from")]
    if derived:
        further = reverse if any(include.iterate for include in derived) else []
        start = "\nUNION ".join(["SELECT kind, no, k FROM page", *further])
        pointer = POINTERS["Observation", "derived-from", "Observation"]
        origins = f"SELECT {pointer} FROM seen o JOIN ({start}) p USING (kind, no, k)"
        found.append(f"SELECT o.kind, o.no, o.k FROM seen o WHERE (o.kind, o.no) IN ({origins})")
    return "\nUNION ".join(found)


def _reverse(include: Include, resource_type: str) -> str:
    """Keys of the resources that point to the page; nothing when the reference points to another type."""
    pointer = POINTERS.get((include.source, include.name, resource_type))
    if pointer is None or include.target not in (None, resource_type):
        return ""
    # This is not an EXISTS per row, which would scan the page once for each row.
    return f"""
SELECT o.kind, o.no, o.k FROM {TABLES[include.source]} o
 CROSS JOIN LATERAL (SELECT {pointer}) AS p(to_kind, to_no)
 WHERE (p.to_kind, p.to_no) IN (SELECT kind, no FROM page)"""


def _text(observed: frozenset[Kind], parts: list[str], counted: str, related: str, following: bool = False) -> str:
    """The statement that looks up all that a `page` shows; `total` is the count of `counted`.

    `related` has the keys of included resources, `hit` these and those of the page. At least one row is returned, for
    `total`.
    """
    columns, rows = COLUMNS, f"({ROWS}) ON true"
    if following:  # what follows the page, beside the first match
        columns, rows = f"{columns}, others.*", f"{rows} LEFT JOIN others ON o.ord = 1"
    return f"""WITH {",".join(parts)},
related AS ({related}),
hit AS (
  SELECT ord, true AS matched, kind, no, k FROM page
  UNION ALL
  SELECT NULL, false, kind, no, k FROM related
),{lookups(observed)}
SELECT head.*, {columns}
  FROM (SELECT (SELECT count(*) FROM {counted}) AS total) head LEFT JOIN {rows}
 ORDER BY o.ord"""


async def _fetch(
    pool: asyncpg.Pool, text: str, parameters: Parameters, *, together: bool = False
) -> list[asyncpg.Record]:
    if together and not is_spread(pool):
        return await fetch_together(pool, text, (*PARAMETERS, *parameters.types), *parameters.values, most=FEW_SEARCHES)
    return await fetch_of_patient(pool, text, *parameters.values)


def _found(rows: Sequence[Row]) -> Found:
    matches = [row for row in rows if row["matched"]]
    related = [row for row in rows if row["matched"] is False]
    return Found(rows[0]["total"], matches, related, rows[0]["at_ms"])
