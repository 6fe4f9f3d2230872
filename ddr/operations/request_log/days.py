"""Packs past days of the request log: the seals stay, their lines shrink to a third of the bytes.

It packs some seals in each transaction, so that it can resume where it stopped. Packed lines are unpacked and compared
before they are written; lines that do not come back unchanged keep their form. A day counts as packed when all its
seals are; until then it is read from where it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import asyncpg

from ddr.aside import aside
from ddr.operations.request_log.chain import IN_COLUMNS, IN_LINES, Seal, digest
from ddr.operations.request_log.packing import Learning, pack, unpack
from ddr.store.audit import request_log_packs as packs
from ddr.store.audit.request_log_seals import COLUMNS

LATE_MS = 600_000  # how long after its end a day is packed
ROUND_SECONDS = 20.0

log = logging.getLogger(__name__)


async def pack_some(pool: asyncpg.Pool, now_ms: int, seconds: float = ROUND_SECONDS) -> int:
    """Pack what is due, for about this long; returns the number of finished days."""
    today = datetime.fromtimestamp((now_ms - LATE_MS) / 1000, UTC).date()
    deadline, finished = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and (day := await packs.due(pool, today)) is not None:
        if not await _advance(pool, day, deadline) or not await packs.finish(pool, day, now_ms):
            break
        log.info("request_log.packed", extra={"day": day.isoformat()})
        finished += 1
    return finished


async def _advance(pool: asyncpg.Pool, day: date, deadline: float) -> bool:
    """Pack one seal after another; True when all are packed. The next round restarts a day whose words are damaged."""
    if not await packs.begin(pool, day):
        return False
    try:
        learning = await aside(True, Learning, await packs.words(pool, day))
    except ValueError:
        log.error("request_log.words_damaged", extra={"day": day.isoformat()})
        await packs.begin_anew(pool, day)
        return False
    while rows := await packs.unpacked(pool, day):
        seals = [await aside(True, packed, row, learning) for row in rows]
        if not await packs.add(pool, seals, learning.learnt()):
            return False  # another process is packing
        if time.monotonic() > deadline:
            return False
    return True


def packed(row: Mapping[str, Any], learning: Learning) -> Mapping[str, Any]:
    """The row of a seal in its new form; unchanged when its lines are damaged or do not come back unchanged."""
    if row["form"] != IN_LINES:
        return row
    try:
        lines = Seal(**{name: row[name] for name in COLUMNS}).lines()
        body = pack(lines, learning)
        same = unpack(body, learning.words) == lines and digest(lines) == row["digest"]
    except ValueError:
        return row
    return {**row, "packed": body, "form": IN_COLUMNS} if same else row
