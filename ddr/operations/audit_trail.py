"""Work on the audit trail as a whole: seal it, verify it, purge what is old, export it (HDDT security-and-privacy.md,
Transparency of Operations)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from ddr.operations.audit_chain import GENESIS, Seal, faults, seal_after
from ddr.store.audit import seals as store

DAY_MS = 86_400_000
SLICE = 10_000  # most entries under one seal, and read at once

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What `verify` saw. `head` vouches for everything sealed; compare it with one that was kept elsewhere."""

    faults: tuple[str, ...]
    seals: int
    entries: int
    purged_seals: int
    unsealed: int
    head: str


async def seal(pool: asyncpg.Pool, now_ms: int) -> int:
    """Seal every entry that is committed by now; returns the number of new seals.

    The head goes to the log: whoever rewrites the whole chain would have to rewrite that, too.
    """
    upto_no, made = await store.settled_number(pool), 0
    while (new := await _seal_slice(pool, upto_no, now_ms)) is not None:
        made += 1
        log.info("audit.sealed", extra={"head": new.head, "entries": new.entries})
    return made


async def _seal_slice(pool: asyncpg.Pool, upto_no: int, now_ms: int) -> Seal | None:
    row = await store.last_seal(pool)
    former = Seal(**row) if row else GENESIS
    entries = await store.entries_between(pool, former.upto_no, upto_no, SLICE)
    if not entries:
        return None
    new = seal_after(former, entries, now_ms)
    return new if await store.add_seal(pool, vars(new)) else None


async def purge(pool: asyncpg.Pool, days: int, now_ms: int) -> int:
    """Delete sealed entries older than `days`; returns how many. Their seals stay, so the chain stays whole."""
    total = 0
    while deleted := await store.purge_oldest(pool, now_ms - days * DAY_MS, now_ms):
        total += deleted
    return total


async def verify(pool: asyncpg.Pool, recorded: str | None = None) -> Findings:
    """Compute the whole chain anew from the entries. `recorded` is a head noted earlier, which must be part of it."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        found: list[str] = []
        former, entries, purged, recorded_seen = GENESIS, 0, 0, recorded is None
        async for current in _seals(conn):
            rows = await store.entries_between(conn, former.upto_no, current.upto_no)
            found += faults(former, current, rows)
            entries, purged = entries + len(rows), purged + (current.purged_ms is not None)
            recorded_seen = recorded_seen or current.head == recorded
            former = current
        if not recorded_seen:
            found.append(f"the chain has no seal {recorded}")
        unsealed = await conn.fetchval("SELECT count(*) FROM audit WHERE audit_no > $1", former.upto_no)
    return Findings(tuple(found), former.seal_no, entries, purged, unsealed, former.head)


async def _seals(conn: asyncpg.Connection) -> AsyncIterator[Seal]:
    seal_no = 0
    while rows := await store.seals_after(conn, seal_no, SLICE):
        for row in rows:
            yield Seal(**row)
        seal_no = rows[-1]["seal_no"]


async def entries(pool: asyncpg.Pool, wanted: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    """All entries that fit `wanted` (ddr.store.audit.seals.entries_matching), oldest first, however many."""
    after_no = 0
    while rows := await store.entries_matching(pool, wanted, after_no, SLICE):
        for row in rows:
            yield row
        after_no = rows[-1]["audit_no"]
