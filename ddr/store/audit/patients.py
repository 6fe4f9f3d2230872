"""The audit trail of one patient, packed and unpacked entries alike. Read only."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import asyncpg

from ddr.aside import aside
from ddr.store.audit.entries import Entry
from ddr.store.audit.packing import Packed, unpack
from ddr.store.audit.packs import PARTS, PackedRow, month_of, words
from ddr.store.database.pool import Row

log = logging.getLogger(__name__)


COLUMNS = ("audit_no", "at_ms", "event", "client_id", "pairing_id", "detail")
NEWEST = 1 << 48
ANY_DAY = 1 << 30
LARGE_BYTES = 12_000  # of bodies: about 2,000 entries
ROWS = 32  # read at once
FRESH = 1000  # read at once

# Entries that are not packed are found by hour and patient: one look-up for each hour of the days that have a table.
# The others (from before such tables existed, or with a wrong clock) have an index by patient. A scan by number would
# read the entries of all patients; OFFSET 0 keeps the planner from that, as it estimates a range of numbers to be as
# selective as a patient.
_COLUMNS = ", ".join(COLUMNS)
_FRESH = f"""
WITH place AS (
  SELECT packed_upto, least(coalesce(first_hour, 1), last) AS first, last FROM (
    SELECT audit_packed_upto() AS packed_upto, min(first_hour) FILTER (WHERE first_hour > 0) AS first_hour,
           floor(date_part('epoch', now()) / 3600)::integer + 1 AS last FROM audit_day) AS days
)
SELECT place.packed_upto, fresh.* FROM place LEFT JOIN LATERAL (
  SELECT {_COLUMNS} FROM (
    SELECT {_COLUMNS} FROM audit a
     WHERE a.hour = ANY (ARRAY(SELECT generate_series(first, last) FROM place)) AND a.patient_id = $1
    UNION ALL SELECT {_COLUMNS} FROM audit a WHERE a.hour < (SELECT first FROM place) AND a.patient_id = $1
    UNION ALL SELECT {_COLUMNS} FROM audit a WHERE a.hour > (SELECT last FROM place) AND a.patient_id = $1
    OFFSET 0) AS found
   WHERE audit_no > place.packed_upto AND audit_no > $2 AND audit_no < $3
   ORDER BY audit_no {{}} LIMIT $4) AS fresh ON true"""  # noqa: S608 - texts of ours
_OLDER = _FRESH.format("DESC")
_NEWER = _FRESH.format("")
_PACKED = f"SELECT {', '.join(PackedRow._fields)} FROM audit_packed WHERE patient_id = $1"  # noqa: S608
_BACK = f"{_PACKED} AND day <= $2 AND (day, part) < ($2, $3) ORDER BY day DESC, part DESC LIMIT $4"
_FORTH = f"{_PACKED} AND day >= $2 AND (day, part) >= ($2, $3) ORDER BY day, part LIMIT $4"
# The day of the pack in which later entries begin. A pack's day is that of its newest entry or later: entries that were
# sealed late, or by a clock that was ahead, lie under days that are not theirs.
_DAY_UPTO = """
SELECT day FROM audit_pack
 WHERE pack_no = 1 + coalesce((SELECT max(pack_no) FROM audit_pack WHERE last_ms < $1), 0)"""


async def before(pool: asyncpg.Pool, patient_id: UUID, before_no: int, count: int, day: int = 0) -> list[Row]:
    """Up to `count` entries with numbers below `before_no`, newest first.

    Their keys: audit_no, at_ms, event, client_id, pairing_id, detail, day. `day` is that of the entry `before_no`, so
    that later ones are not looked at; 0: any.
    """
    packed_upto, rows = await _fresh(pool, _OLDER, patient_id, 0, before_no, count)
    if len(rows) == count:
        return rows
    async for pack in _packs(pool, _BACK, patient_id, (day or ANY_DAY, ANY_DAY)):
        entries = await _entries(pool, pack)
        rows += [
            _row(entry._asdict(), pack[0].day)
            for entry in reversed(entries)
            if entry.audit_no < before_no and entry.audit_no <= packed_upto
        ]
        if len(rows) >= count:
            break
    return rows[:count]


async def upto(pool: asyncpg.Pool, patient_id: UUID, upto_no: int) -> AsyncIterator[Row]:
    """All entries up to number `upto_no`, oldest first; keys as for `before`."""
    after_no, day = 0, 0
    while True:
        packed_upto: int = await pool.fetchval("SELECT audit_packed_upto()")
        if packed_upto > after_no:
            async for pack in _packs(pool, _FORTH, patient_id, (day, 0)):
                day = pack[0].day
                for entry in await _entries(pool, pack):
                    if after_no < entry.audit_no <= min(packed_upto, upto_no):
                        yield _row(entry._asdict(), day)
            after_no = packed_upto
        packed_since, rows = await _fresh(pool, _NEWER, patient_id, after_no, upto_no + 1, FRESH)
        if packed_since > after_no:
            continue  # the wanted entries were packed meanwhile
        for row in rows:
            yield row
        if len(rows) < FRESH:
            return
        after_no = rows[-1]["audit_no"]


async def happened_since(pool: asyncpg.Pool, patient_id: UUID, event: str, since_ms: int) -> bool:
    """Whether the trail has this event of the patient at or after `since_ms`.

    The whole trail is searched, because an entry written later may have an earlier time from another clock.
    """
    before_no, day = NEWEST, 0
    while rows := await before(pool, patient_id, before_no, FRESH, day):
        if any(row["event"] == event and row["at_ms"] >= since_ms for row in rows):
            return True
        before_no, day = rows[-1]["audit_no"], rows[-1]["day"]
    return False


async def newest_before(pool: asyncpg.Pool, patient_id: UUID, until_ms: int) -> Row | None:
    """The newest entry from before `until_ms`, with the keys of `before`; None: there is none."""
    before_no, day = NEWEST, await pool.fetchval(_DAY_UPTO, until_ms) or 0
    while rows := await before(pool, patient_id, before_no, FRESH, day):
        if found := next((row for row in rows if row["at_ms"] < until_ms), None):
            return found
        before_no = rows[-1]["audit_no"]
    return None


async def newest_no(pool: asyncpg.Pool, patient_id: UUID) -> int:
    """Number of the newest entry; 0 when there is none."""
    rows = await before(pool, patient_id, NEWEST, 1)
    return int(rows[0]["audit_no"]) if rows else 0


async def _fresh(
    pool: asyncpg.Pool, query: str, patient_id: UUID, after_no: int, before_no: int, count: int
) -> tuple[int, list[Row]]:
    """The number up to which entries are packed, and the entries of this patient that are not."""
    rows = await pool.fetch(query, patient_id, after_no, before_no, count)
    return rows[0]["packed_upto"], [_row(row, 0) for row in rows if row["audit_no"] is not None]


async def _packs(
    pool: asyncpg.Pool, query: str, patient_id: UUID, place: tuple[int, int]
) -> AsyncIterator[list[PackedRow]]:
    """The rows of one pack after the other."""
    pack: list[PackedRow] = []
    while True:
        rows = [PackedRow(*row) for row in await pool.fetch(query, patient_id, *place, ROWS)]
        for row in rows:
            if pack and (row.day, row.part // PARTS) != (pack[0].day, pack[0].part // PARTS):
                yield pack
                pack = []
            pack.append(row)
        if len(rows) < ROWS:
            break
        forth = query == _FORTH
        place = (rows[-1].day, rows[-1].part + (1 if forth else 0))
    if pack:
        yield pack


async def _entries(pool: asyncpg.Pool, pack: Sequence[PackedRow]) -> list[Entry]:
    """The entries in the rows of one pack, by number; damaged ones are left out and logged."""
    large = sum(len(row.body) for row in pack) > LARGE_BYTES
    unpacked = await aside(large, _unpacked, pack)
    numbers = {entry.word_no for _, entries in unpacked for entry in entries}
    said = await words(pool, month_of(pack[0].day), sorted(numbers))

    def named() -> list[Entry]:
        return sorted(entry for row, entries in unpacked for entry in row.named(entries, said))

    try:
        return await aside(large, named)
    except ValueError as error:
        log.error("audit.damaged", extra={"reason": f"a row of day {pack[0].day} {error}"})
        return []


def _unpacked(pack: Sequence[PackedRow]) -> list[tuple[PackedRow, list[Packed]]]:
    found = []
    for row in pack:
        try:
            found.append((row, unpack(row.body)))
        except ValueError as error:
            log.error("audit.damaged", extra={"reason": f"a row of day {row.day} {error}"})
    return found


def _row(entry: Row, day: int) -> Row:
    return {**{name: entry[name] for name in COLUMNS}, "day": max(day, 0)}
