"""Packs sealed entries of the audit trail: those of a past day, one row per pairing (ddr.store.audit.packs).

It packs shards of patients, each in a transaction of its own, so that it can resume where it stopped. Packed rows are
unpacked and compared before they are written. A pack becomes valid when it is complete; until then all entries are read
from where they were.
"""

from __future__ import annotations

import logging
import time
from uuid import UUID

import asyncpg

from ddr.aside import aside
from ddr.durations import DAY_MS
from ddr.store.audit import days, packs, seals
from ddr.store.audit.packing import MOST_ENTRIES, pack, pairing_bytes, pairing_text, unpack
from ddr.store.audit.packs import Group, Pack, PackedRow
from ddr.store.audit.seals import Run

LATE_MS = 600_000  # how long after its end a day is packed
SHARD = 500_000  # approximate number of entries packed in one transaction,
MOST_SHARDS = 32  # and more on a large day: each shard scans all entries of the day
BATCH = 200  # groups, or
BATCH_ENTRIES = 20_000  # entries, written at once
ROUND_SECONDS = 20.0
IDS = 1 << 128
MOST_AHEAD = 31  # days by which the day of a pack may be ahead of its seals

log = logging.getLogger(__name__)


async def pack_some(pool: asyncpg.Pool, now_ms: int, seconds: float = ROUND_SECONDS) -> int:
    """Pack what is due, for about this long; returns the number of finished packs. Drops entries that exist in both
    forms."""
    deadline, finished = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and (work := await _next(pool, now_ms)) is not None:
        if not await _advance(pool, work, deadline):
            break
        finished += await _finish(pool, await packs.numbered(pool, work.pack_no), now_ms)
    await days.clear(pool)
    return finished


async def _next(pool: asyncpg.Pool, now_ms: int) -> Pack | None:
    """The pack to continue: the newest if it is unfinished, else a new one when a day of seals is over."""
    newest = await packs.newest(pool)
    if newest is not None and newest.packed_ms is None:
        return newest
    run = await seals.day_after(pool, newest.upto_no if newest else 0, now_ms + DAY_MS)
    if run is None or run.day >= (now_ms - LATE_MS) // DAY_MS:
        return None
    day = _day(run, newest)
    first_part = newest.first_part + packs.PARTS if newest and newest.day == day else 0
    new = Pack(newest.pack_no + 1 if newest else 1, day, first_part, run.after_no, run.upto_no, run.last_ms)
    return new if await packs.begin(pool, new) else None


def _day(run: Run, newest: Pack | None) -> int:
    """The day under which seals are stored: their own, never before the previous pack's, whatever clocks
    say.

    After a clock ran ahead for so long that days were packed, real time catches up if the gap is small. Otherwise days
    continue from there, and each month of seals gets the next month, so that it can be dropped by itself.
    """
    if newest is None or run.day >= newest.day:
        return run.day
    if newest.day <= run.day + MOST_AHEAD or packs.month_of(newest.last_ms // DAY_MS) == packs.month_of(run.day):
        return newest.day
    return packs.month_after(newest.day)


async def _advance(pool: asyncpg.Pool, work: Pack, deadline: float) -> bool:
    """Pack one shard of patients after another; True when all are packed."""
    if work.reached is None:
        await packs.learn_words(pool, work)
    expected = await seals.count_between(pool, work.after_no, work.upto_no)
    shards = min(max(1, -(-expected // SHARD)), MOST_SHARDS)
    step = -(-IDS // shards)
    begun = work.reached or UUID(int=0)  # perhaps within a shard: a version with other shards began
    for at in range(begun.int // step, shards):
        ends, last = UUID(int=min((at + 1) * step, IDS - 1)), at + 1 == shards
        if not await _pack_shard(pool, work, begun, ends, last=last):
            return False  # another process is packing
        work, begun = work._replace(reached=ends), ends
        if not last and time.monotonic() > deadline:
            return False
    return True


async def _pack_shard(pool: asyncpg.Pool, work: Pack, begun: UUID, ends: UUID, *, last: bool) -> bool:
    """Pack the patients from `begun` to `ends`, or to the last one. False when another process is packing them or has
    packed them."""
    try:
        async with packs.long(pool) as conn:
            count = await _shard(conn, work, begun, None if last else ends)
            return await packs.note(conn, work, ends, count)
    except asyncpg.UniqueViolationError:
        if (await packs.numbered(pool, work.pack_no)).reached == work.reached:
            raise  # no other process has stored these rows
        return False
    except asyncpg.LockNotAvailableError:
        return False


async def _shard(conn: asyncpg.Connection, work: Pack, begun: UUID, ends: UUID | None) -> int:
    count, batch, size = 0, list[tuple[int, Group]](), 0
    patient, part = None, 0
    async for group in packs.groups(conn, work, begun, ends):
        part = part if group.patient_id == patient else work.first_part
        patient = group.patient_id
        batch.append((part, group))
        part += -(-len(group.entries) // MOST_ENTRIES)
        count, size = count + len(group.entries), size + len(group.entries)
        if len(batch) >= BATCH or size >= BATCH_ENTRIES:
            await packs.add(conn, await aside(True, _rows, work, batch))
            batch, size = [], 0
    await packs.add(conn, await aside(True, _rows, work, batch))
    return count


def _rows(work: Pack, batch: list[tuple[int, Group]]) -> list[PackedRow]:
    """The rows of these groups, each with the number of its first part."""
    rows = []
    for part, group in batch:
        pairing = pairing_bytes(group.pairing_id)
        for index, at in enumerate(range(0, len(group.entries), MOST_ENTRIES)):
            entries = list(group.entries[at : at + MOST_ENTRIES])
            body = pack(entries)
            if unpack(body) != entries or pairing_text(pairing) != group.pairing_id:
                raise RuntimeError("packed entries of the audit trail do not unpack to the same entries")
            rows.append(PackedRow(group.patient_id, work.day, part + index, pairing, body))
    return rows


async def _finish(pool: asyncpg.Pool, work: Pack, now_ms: int) -> bool:
    """Make the pack valid; False when another process was faster. A trail that was changed before is packed as it is,
    and its seals still show the change."""
    if (there := await packs.count_unpacked(pool, work)) != work.entries:
        if (await packs.numbered(pool, work.pack_no)).packed_ms is not None:
            return False  # and the original entries may be gone
        raise RuntimeError(f"pack {work.pack_no} of the audit trail has only {work.entries} of {there} entries")
    if not await packs.finish(pool, work, now_ms):
        return False
    log.info("audit.packed", extra={"count": work.entries, "day": packs.date_of(work.last_ms // DAY_MS).isoformat()})
    return True
