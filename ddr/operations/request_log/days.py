"""Packs the days of the request log that are over: the seals stay, their lines get a form of a third of the bytes.

It is done some seals at a time, each time in a transaction, so that it goes on where it stopped. What was packed is
unpacked again and compared before it is written; lines that do not come back the same keep the form that they had. A
day counts as packed when all its seals are; until then it is read from where it was.
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

LATE_MS = 600_000  # a day is packed so long after its end
ROUND_SECONDS = 20.0

log = logging.getLogger(__name__)


async def pack_some(pool: asyncpg.Pool, now_ms: int, seconds: float = ROUND_SECONDS) -> int:
    """Pack what is due, for about so long; how many days were finished."""
    today = datetime.fromtimestamp((now_ms - LATE_MS) / 1000, UTC).date()
    deadline, finished = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and (day := await packs.due(pool, today)) is not None:
        if not await _advance(pool, day, deadline) or not await packs.finish(pool, day, now_ms):
            break
        log.info("request_log.packed", extra={"day": day.isoformat()})
        finished += 1
    return finished


async def _advance(pool: asyncpg.Pool, day: date, deadline: float) -> bool:
    """Pack seal after seal; True when all are. A day whose words are damaged is begun anew by the next round."""
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
            return False  # another process is at it
        if time.monotonic() > deadline:
            return False
    return True


def packed(row: Mapping[str, Any], learning: Learning) -> Mapping[str, Any]:
    """The row of a seal in its new form; as it is when its lines are damaged or do not come back the same."""
    if row["form"] != IN_LINES:
        return row
    try:
        lines = Seal(**{name: row[name] for name in COLUMNS}).lines()
        body = pack(lines, learning)
        same = unpack(body, learning.words) == lines and digest(lines) == row["digest"]
    except ValueError:
        return row
    return {**row, "packed": body, "form": IN_COLUMNS} if same else row
