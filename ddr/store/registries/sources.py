"""What the registries said: the current entries of a source, their history, and whose turn it is to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.pool import Connection

SET_BACK_MS = 150_000  # a reading takes less; one stored from further ahead comes from a clock that was set back


@dataclass(frozen=True)
class Source:
    """The state of one registry. Instants in milliseconds; `seen_ms` 0: never read."""

    generation: int = 0
    seen_ms: int = 0
    next_ms: int = 0
    fault: str | None = None
    fault_ms: int | None = None
    notes: Sequence[str] = ()  # complaints of the last reading


async def read_source(connection: Connection, source: str) -> Source:
    """The state of `source`; the default state before its first claim."""
    row = await connection.fetchrow(
        "SELECT generation, seen_ms, next_ms, fault, fault_ms, notes FROM registry_source WHERE source = $1", source
    )
    return Source(**row) if row else Source()


async def read_sources(connection: Connection) -> dict[str, Source]:
    """The state of every registry that was asked at least once, by name."""
    rows = await connection.fetch(
        "SELECT source, generation, seen_ms, next_ms, fault, fault_ms, notes FROM registry_source ORDER BY source"
    )
    states = [dict(row) for row in rows]
    return {state.pop("source"): Source(**state) for state in states}


async def read_entries(connection: Connection, source: str) -> dict[str, dict[str, Any]]:
    """The current entries of `source` by their names."""
    rows = await connection.fetch(
        "SELECT entry, content FROM registry_entry WHERE source = $1 AND until_ms IS NULL", source
    )
    return {row["entry"]: row["content"] for row in rows}


async def read_former(connection: Connection, source: str) -> dict[str, dict[str, Any]]:
    """The last states of former entries of `source`, by their names, as long as they are kept."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (entry) entry, content FROM registry_entry AS former
         WHERE source = $1 AND NOT EXISTS (
               SELECT FROM registry_entry WHERE source = $1 AND entry = former.entry AND until_ms IS NULL)
         ORDER BY entry, from_ms DESC
        """,
        source,
    )
    return {row["entry"]: row["content"] for row in rows}


async def claim(connection: Connection, source: str, now_ms: int, lease_ms: int, longest_ms: int = 2**53) -> bool:
    """True for exactly one caller when a reading is due; nobody else gets it for `lease_ms`.

    It is also due when it is planned for later than in `longest_ms`, because then the clock was set back. A lease is
    used instead of a lock: no connection is held while the registry answers, and a worker that dies loses its turn.
    """
    claimed = await connection.fetchval(
        "INSERT INTO registry_source AS s (source, next_ms) VALUES ($1, $2)"
        " ON CONFLICT (source) DO UPDATE SET next_ms = excluded.next_ms"
        " WHERE s.next_ms <= $3 OR s.next_ms > $3 + $4::bigint RETURNING true",
        source,
        now_ms + lease_ms,
        now_ms,
        longest_ms,
    )
    return bool(claimed)


async def request_reading(connection: Connection, source: str) -> None:
    """Make a reading of `source` due at once, by whichever worker; a reading in progress does not count."""
    await connection.execute("UPDATE registry_source SET next_ms = 0 WHERE source = $1", source)


async def save_reading(
    connection: asyncpg.Connection,
    source: str,
    entries: Mapping[str, Mapping[str, Any]],
    seen_ms: int,
    next_ms: int,
    notes: Sequence[str] = (),
) -> bool:
    """Make `entries` the current state, closing the former state of each changed entry. True when anything changed.

    Call it inside a transaction. A reading that began before the stored one is ignored, unless the stored one is from
    the future (more than a lease ahead), because then the clock was set back.
    """
    last = await connection.fetchrow(
        "SELECT seen_ms, fault, notes FROM registry_source WHERE source = $1 FOR UPDATE", source
    )
    if last is None or seen_ms <= last["seen_ms"] <= seen_ms + SET_BACK_MS:
        return False
    if last["fault"]:
        await record_event(connection, source, seen_ms, "recovered", {"fault": last["fault"]})
    for note in [note for note in notes if note not in last["notes"]]:
        await record_event(connection, source, seen_ms, "note", {"note": note})
    present = await read_entries(connection, source)
    over = [name for name, content in present.items() if entries.get(name) != content]
    new = {name: content for name, content in entries.items() if present.get(name) != content}
    await connection.execute(
        "UPDATE registry_entry SET until_ms = greatest($3, from_ms)"
        " WHERE source = $1 AND entry = ANY($2) AND until_ms IS NULL",
        source,
        over,
        seen_ms,
    )
    await connection.executemany(
        "INSERT INTO registry_entry (source, entry, from_ms, content) VALUES ($1, $2, $3, $4)",
        [(source, name, seen_ms, content) for name, content in new.items()],
    )
    changed = bool(over or new)
    await connection.execute(
        "UPDATE registry_source SET generation = generation + $2, seen_ms = $3, notes = $5,"
        " next_ms = CASE next_ms WHEN 0 THEN 0 ELSE $4::bigint END, fault = NULL, fault_ms = NULL WHERE source = $1",
        source,
        int(changed),
        seen_ms,
        next_ms,
        list(notes),
    )
    return changed


async def changed_since(connection: asyncpg.Connection, source: str, since_ms: int) -> bool:
    """Whether a reading at or after `since_ms` has changed an entry."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM registry_entry WHERE source = $1 AND (from_ms >= $2 OR until_ms >= $2))",
        source,
        since_ms,
    )
    return found


async def save_fault(connection: Connection, source: str, fault: str, now_ms: int, next_ms: int) -> None:
    """Note that a reading failed; what was read before stays. The first of consecutive equal faults is an event."""
    await connection.execute(
        """
        WITH before AS (SELECT fault FROM registry_source WHERE source = $1), noted AS (
          INSERT INTO registry_event (source, at_ms, kind, detail)
          SELECT $1, $3, 'fault', jsonb_build_object('fault', $2::text) FROM before WHERE fault IS DISTINCT FROM $2)
        UPDATE registry_source SET fault = $2, fault_ms = coalesce(fault_ms, $3),
               next_ms = CASE next_ms WHEN 0 THEN 0 ELSE $4::bigint END WHERE source = $1
        """,
        source,
        fault,
        now_ms,
        next_ms,
    )


async def alone(connection: asyncpg.Connection) -> None:
    """Within a transaction: be the only writer of the report."""
    await connection.execute(LOCK, Lock.INSPECTION)


async def record_event(connection: Connection, source: str, at_ms: int, kind: str, detail: Mapping[str, Any]) -> None:
    """Keep what happened, for the report of `ddr registry report`."""
    await connection.execute(
        "INSERT INTO registry_event (source, at_ms, kind, detail) VALUES ($1, $2, $3, $4)", source, at_ms, kind, detail
    )


async def entries_at(connection: Connection, source: str, at_ms: int) -> dict[str, Any]:
    """The entries of `source` as they were known at `at_ms`, by their names."""
    rows = await connection.fetch(
        "SELECT entry, content FROM registry_entry"
        " WHERE source = $1 AND from_ms <= $2 AND coalesce(until_ms > $2, true) ORDER BY entry",
        source,
        at_ms,
    )
    return {row["entry"]: row["content"] for row in rows}


async def history(
    connection: Connection, from_ms: int, until_ms: int, entry: str | None = None
) -> list[asyncpg.Record]:
    """The states of entries that began or ended between two instants, each with the state before it, oldest first."""
    found: list[asyncpg.Record] = await connection.fetch(
        """
        WITH state AS (
          SELECT source, entry, from_ms, until_ms, content, lag(content) OVER own AS before,
                 lag(until_ms) OVER own AS before_until_ms
            FROM registry_entry
          WINDOW own AS (PARTITION BY source, entry ORDER BY from_ms))
        SELECT source, entry, from_ms, until_ms, content, before, before_until_ms
          FROM state
         WHERE ($3::text IS NULL OR entry = $3)
           AND (from_ms >= $1 AND from_ms < $2 OR until_ms >= $1 AND until_ms < $2)
         ORDER BY from_ms, source, entry
        """,
        from_ms,
        until_ms,
        entry,
    )
    return found


async def events(connection: Connection, from_ms: int, until_ms: int, kind: str | None = None) -> list[asyncpg.Record]:
    """What happened between two instants, oldest first."""
    found: list[asyncpg.Record] = await connection.fetch(
        "SELECT source, at_ms, kind, detail FROM registry_event"
        " WHERE at_ms >= $1 AND at_ms < $2 AND ($3::text IS NULL OR kind = $3) ORDER BY event_no",
        from_ms,
        until_ms,
        kind,
    )
    return found


async def purge(pool: asyncpg.Pool, before_ms: int) -> None:
    """Delete events from before `before_ms`, except those that say which packages need not be downloaded again, and
    entries that had been replaced by then.
    """
    await pool.execute("DELETE FROM registry_event WHERE at_ms < $1 AND kind <> 'downloaded'", before_ms)
    await pool.execute("DELETE FROM registry_entry WHERE until_ms < $1", before_ms)
