"""The regular inspection of the registries: what changed in the three sources, and what the recorder did about it.

Once a day its result goes to the log; `ddr registry report` gives it for any period.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from ddr.durations import DAY_MS
from ddr.store.database.pool import Connection
from ddr.store.registries import sources as store

REPORT = "report"
OWN = "recorder"  # the source of events of the recorder itself

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """One entry that appeared, changed or vanished; `fields` are the names of what changed."""

    at_ms: int
    source: str
    entry: str
    what: str  # appeared | changed | vanished
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What happened from `from_ms` until `until_ms`."""

    from_ms: int
    until_ms: int
    sources: Mapping[str, store.Source]
    changes: tuple[Change, ...]
    events: tuple[Mapping[str, Any], ...]


async def inspect(pool: Connection, from_ms: int, until_ms: int) -> Inspection:
    """The inspection of this period."""
    states = await store.history(pool, from_ms, until_ms)
    changes = [change for row in states for change in _changes(row, states, from_ms, until_ms)]
    happened = await store.events(pool, from_ms, until_ms)
    return Inspection(
        from_ms,
        until_ms,
        await store.read_sources(pool),
        tuple(sorted(changes, key=lambda change: change.at_ms)),
        tuple(dict(row) for row in happened if row["kind"] != REPORT),
    )


async def daily(pool: asyncpg.Pool, now_ms: int) -> None:
    """Write the inspection of the time since the last one to the log, if that is a day ago."""
    async with pool.acquire() as conn, conn.transaction():
        await store.alone(conn)
        last = await store.events(conn, 0, now_ms + DAY_MS, REPORT)  # also counts one dated by a clock ahead of ours
        from_ms = last[-1]["at_ms"] if last else now_ms - DAY_MS
        if last and now_ms - from_ms < DAY_MS:
            return
        found = await inspect(conn, from_ms, now_ms)
        figures = {"changes": len(found.changes), "events": len(found.events), "from_ms": from_ms}
        await store.record_event(conn, OWN, now_ms, REPORT, figures)
    log.info("registry.report", extra=figures | {"sources": {name: _state(one) for name, one in found.sources.items()}})


def _state(source: store.Source) -> str:
    return source.fault or (f"{len(source.notes)} notes" if source.notes else "good")


def _changes(row: asyncpg.Record, states: list[asyncpg.Record], from_ms: int, until_ms: int) -> list[Change]:
    """The beginning of a state, and its end unless another state followed at once."""
    found = []
    name = row["source"], row["entry"]
    if from_ms <= row["from_ms"] < until_ms:
        followed = row["before"] is not None and row["before_until_ms"] == row["from_ms"]
        fields = _different(row["before"], row["content"]) if followed else ()
        found.append(Change(row["from_ms"], *name, "changed" if followed else "appeared", fields))
    successors = {(one["source"], one["entry"], one["from_ms"]) for one in states}
    ended = row["until_ms"]
    if ended is not None and from_ms <= ended < until_ms and (*name, ended) not in successors:
        found.append(Change(ended, *name, "vanished"))
    return found


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(key for key in {*before, *after} if before.get(key) != after.get(key)))
