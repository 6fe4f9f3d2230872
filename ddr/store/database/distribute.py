"""Which tables of an installation are where `placing` wants them, by what Citus says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from ddr.store.database.errors import StoreError
from ddr.store.database.placing import PLACES, Place, Where


class NoEngine(StoreError):
    """The database has no Citus, or no servers to spread over."""


@dataclass(frozen=True)
class Step:
    """What becomes of a table, and whether it is so already."""

    table: str
    place: Place
    done: bool


async def plan(conn: asyncpg.Connection | asyncpg.Pool) -> list[Step]:
    """What is to become of each table, in that order; needs no engine. Raises StoreError for unknown tables."""
    rows = await conn.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = current_schema()::regnamespace"
    )
    there = {row["relname"] for row in rows}
    if unknown := sorted(there - PLACES.keys()):
        raise StoreError(f"tables that are not the recorder's, or of a newer version: {', '.join(unknown)}")
    placed = await _placed(conn) if await _has_engine(conn) else {}
    # what is joined with all comes first; `patient` is whom the others of a patient are beside
    order = sorted(
        (table for table in PLACES if table in there),
        key=lambda table: (_ORDER.index(PLACES[table].where), table != "patient"),
    )
    return [Step(table, PLACES[table], _is_so(PLACES[table], placed.get(table))) for table in order]


_ORDER = (Where.REFERENCE, Where.PATIENT, Where.KEY, Where.FIRST)


def _is_so(place: Place, found: str | None) -> bool:
    wanted = None if place.where is Where.FIRST else "" if place.where is Where.REFERENCE else place.by
    return found == wanted


async def check_engine(conn: asyncpg.Connection | asyncpg.Pool) -> None:
    """Raises NoEngine."""
    if not await _has_engine(conn):
        raise NoEngine("the database has no Citus: CREATE EXTENSION citus (docs/scaling.md)")
    if not await conn.fetchval("SELECT EXISTS (SELECT FROM pg_dist_node WHERE isactive AND shouldhaveshards)"):
        raise NoEngine("Citus has no servers to spread patients over: citus_add_node (docs/scaling.md)")


async def _has_engine(conn: asyncpg.Connection | asyncpg.Pool) -> bool:
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")
    return found


async def _placed(conn: asyncpg.Connection | asyncpg.Pool) -> Mapping[str, str]:
    """The tables that the engine knows, by the column by which they are spread; empty: on all servers."""
    rows = await conn.fetch(
        """
        SELECT c.relname, p.partmethod::text AS method, column_to_column_name(p.logicalrelid, p.partkey) AS by
          FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
         WHERE c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition AND p.partmethod IN ('h', 'n')
        """
    )
    return {row["relname"]: row["by"] if row["method"] == "h" else "" for row in rows}
