"""Work on the audit trail as a whole: sealing it, and dropping old entries (HDDT security-and-privacy.md, Transparency
of Operations)."""

from __future__ import annotations

import logging

import asyncpg

from ddr.aside import aside
from ddr.durations import DAY_MS
from ddr.operations.audit_chain import GENESIS, Seal, seal_after
from ddr.store.audit import entries, packs
from ddr.store.audit import seals as store

SLICE = 10_000  # most entries under one seal, and in one read

log = logging.getLogger(__name__)


async def seal(pool: asyncpg.Pool, now_ms: int) -> int:
    """Seal every entry committed by now; returns the number of new seals.

    The head goes to the log: to rewrite the whole chain unnoticed, one would have to rewrite the log, too.
    """
    upto_no, made = await store.settled_number(pool), 0
    while (new := await _seal_slice(pool, upto_no, now_ms)) is not None:
        made += 1
        log.info("audit.sealed", extra={"head": new.head, "entries": new.entries})
    return made


async def _seal_slice(pool: asyncpg.Pool, upto_no: int, now_ms: int) -> Seal | None:
    row = await store.last_seal(pool)
    former = Seal(**row) if row else GENESIS
    read = await entries.between(pool, former.upto_no, upto_no, SLICE)
    new = await aside(True, _sealed, former, read, now_ms)
    return new if new is not None and await store.add_seal(pool, vars(new)) else None


def _sealed(former: Seal, read: entries.Slice, now_ms: int) -> Seal | None:
    found = read.entries()
    return seal_after(former, found, now_ms) if found else None


async def purge(pool: asyncpg.Pool, days: int, now_ms: int) -> int:
    """Drop the months in which every entry is older than `days`; returns the number of dropped entries. Seals stay."""
    total = 0
    while (dropped := await packs.drop(pool, now_ms - days * DAY_MS, now_ms)) is not None:
        total += dropped
    return total
