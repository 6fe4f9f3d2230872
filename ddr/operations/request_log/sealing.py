"""Seals the request log, and drops what has been kept long enough."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg

from ddr.durations import DAY_MS
from ddr.operations.request_log import policy, signing
from ddr.operations.request_log.chain import Seal, as_row, ranges, seal_of
from ddr.operations.request_log.damaged import is_damaged, lines_of
from ddr.operations.request_log.signing import Signer
from ddr.settings import Settings
from ddr.store.audit import request_log_seals as store

BATCHES = 5000  # most rows under one seal; most rows have one line
# A seal is never dated before the previous one, even if a clock is behind by up to this much: days are dropped one
# after another, and the chain continues after them. A clock that was further ahead was wrong, and is not followed.
SKEW_MS = DAY_MS

log = logging.getLogger(__name__)


async def seal(pool: asyncpg.Pool, signer: Signer, settings: Settings, now_ms: int) -> int:
    """Seal every durable record; returns the number of new seals.

    Only the batches that exist now are sealed: under load new ones arrive all the time, and sealing would never end.

    The head goes to the technical log: to rewrite the whole chain unnoticed, one would have to rewrite that log, too.
    """
    policy_no, made, left = await policy.newest(pool, settings, now_ms), 0, await store.waiting(pool)
    while left > 0:
        new, taken = await _seal_some(pool, signer, policy_no, now_ms)
        if not taken:
            break
        left -= taken
        if new is not None:
            made += 1
            log.info("request_log.sealed", extra={"head": new.head, "entries": new.entries})
    return made


async def _seal_some(pool: asyncpg.Pool, signer: Signer, policy_no: int, now_ms: int) -> tuple[Seal | None, int]:
    """The new seal, if any, and the number of sealed batches."""
    async with pool.acquire() as conn, conn.transaction():
        await store.lock(conn)
        last = await store.end(conn)
        found = await store.fresh(conn, BATCHES)
        await store.take_out(conn, found)
        again = await store.sealed_lately(conn, found, last)
        batches = [batch for batch in found if batch not in again]
        if not batches:
            return None, len(found)
        numbers: dict[str, list[int]] = {}
        for batch in batches:
            numbers.setdefault(str(batch.run), []).append(batch.batch_no)
        runs = {run: ranges(found) for run, found in numbers.items()}
        lines = await asyncio.to_thread(lambda: [line for batch in batches for line in lines_of(batch, now_ms)])
        seal_no, former, former_ms = last
        if now_ms < former_ms <= now_ms + SKEW_MS:
            now_ms = former_ms
        new = await asyncio.to_thread(seal_of, lines, seal_no + 1, former, runs, policy_no, now_ms)
        claims = {"seal": new.seal_no, "chain": new.chain.hex()}
        new = replace(new, signature=await signing.sign(conn, signer, claims, now_ms))
        await store.add_seal(conn, as_row(new))
    if count := sum(map(is_damaged, lines)):
        log.error("request_log.damaged", extra={"seal": new.seal_no, "count": count})
    return new, len(found)


async def drop(pool: asyncpg.Pool, days: int, now_ms: int) -> int:
    """Drop the days of sealing that ended `days` ago (at least 30); returns the number of days."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    return await store.drop(pool, today - timedelta(days=days))
