"""Packs of the audit trail: which seals are packed, their rows by pairing and day, and the words used in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ddr.store.audit.entries import LAST, Entry, read_json
from ddr.store.audit.packing import Packed, pairing_bytes, pairing_text, unpack
from ddr.store.database.pool import Connection

EPOCH = date(1970, 1, 1)
PARTS = 1 << 16  # the most rows of a patient in one pack
ROWS = 500  # read at once
LONG_SECONDS = 280  # for a statement that reads a whole day; a job may take 300 (ddr.http.jobs)

Word = tuple[str, str | None, dict[str, Any]]  # event, client_id, detail


class Pack(NamedTuple):
    """Whole seals that are packed together; instants in milliseconds. `reached`: patients below it are done."""

    pack_no: int
    day: int
    first_part: int
    after_no: int
    upto_no: int
    last_ms: int
    reached: UUID | None = None
    entries: int = 0
    packed_ms: int | None = None
    dropped_ms: int | None = None

    @property
    def date(self) -> date:
        """The day, in UTC, under which it is kept."""
        return date_of(self.day)

    @property
    def month(self) -> int:
        """The month whose dictionary of words it refers to."""
        return month_of(self.day)


class PackedRow(NamedTuple):
    """One row: entries of one patient and pairing, still packed."""

    patient_id: UUID
    day: int
    part: int
    pairing: bytes | None
    body: bytes

    def entries(self, words: Mapping[int, Word]) -> list[Entry]:
        """The entries in it. Raises ValueError when it is damaged or refers to a missing word."""
        return self.named(unpack(self.body), words)

    def named(self, unpacked: Iterable[Packed], words: Mapping[int, Word]) -> list[Entry]:
        """The entries in it, when its body is already unpacked. Raises ValueError as `entries`."""
        patient_id, pairing_id = str(self.patient_id), pairing_text(self.pairing)
        found = []
        for audit_no, at_ms, word_no in unpacked:
            if (word := words.get(word_no)) is None:
                raise ValueError("refers to a word that is missing")
            if not -LAST - 1 <= at_ms <= LAST:  # a time that has no date is no damage: it came from some clock
                raise ValueError("is damaged")
            event, client_id, detail = word
            found.append(Entry(audit_no, patient_id, at_ms, event, client_id, pairing_id, detail))
        return found


class Group(NamedTuple):
    """All entries of one patient and pairing that go into a pack."""

    patient_id: UUID
    pairing_id: str | None
    entries: Sequence[Packed]


def date_of(day: int) -> date:
    """The date of a day, counted since 1970."""
    return EPOCH + timedelta(days=day)


def month_of(day: int) -> int:
    """The month of a day, counted since 1970, as 202611."""
    when = date_of(day)
    return when.year * 100 + when.month


def month_after(day: int) -> int:
    """The first day of the next month after a day, both counted since 1970."""
    return ((date_of(day).replace(day=28) + timedelta(days=4)).replace(day=1) - EPOCH).days


_PACK = ", ".join(Pack._fields)


async def newest(conn: Connection) -> Pack | None:
    """The newest pack, finished or not; None before the first one."""
    row = await conn.fetchrow(f"SELECT {_PACK} FROM audit_pack ORDER BY pack_no DESC LIMIT 1")  # noqa: S608
    return Pack(*row) if row else None


async def covering(conn: Connection, after_no: int) -> Pack | None:
    """The first finished pack that has a number above `after_no`, dropped or not; None when there is none."""
    row = await conn.fetchrow(
        f"SELECT {_PACK} FROM audit_pack"  # noqa: S608 - names of ours
        " WHERE upto_no > $1 AND packed_ms IS NOT NULL ORDER BY pack_no LIMIT 1",
        after_no,
    )
    return Pack(*row) if row else None


async def numbered(conn: Connection, pack_no: int) -> Pack:
    """A pack as it is now."""
    return Pack(*await conn.fetchrow(f"SELECT {_PACK} FROM audit_pack WHERE pack_no = $1", pack_no))  # noqa: S608


async def newest_entry_ms(conn: Connection, pack: Pack, at_ms: int) -> int | None:
    """When the newest entry of a pack was made, for a clock that shows `at_ms`; None when it cannot be told.

    A time more than a day ahead comes from a clock that was wrong. Then the time of the next pack without such a time
    counts.
    """
    found: int | None = await conn.fetchval(
        "SELECT audit_pack_told(p, $2) FROM audit_pack p WHERE pack_no = $1", pack.pack_no, at_ms
    )
    return found


async def begin(conn: Connection, pack: Pack) -> bool:
    """Begin a new pack, which is still empty. False when another process was faster."""
    await conn.execute("SELECT audit_open_month($1)", pack.date)
    status: str = await conn.execute(
        "INSERT INTO audit_pack (pack_no, day, first_part, after_no, upto_no, last_ms)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        *pack[:6],
    )
    return status == "INSERT 0 1"


async def learn_words(pool: asyncpg.Pool, pack: Pack) -> None:
    """Give a number to each text that the pack's entries use, unless it has one this month. Another process that works
    on the same pack gives the same numbers."""
    async with long(pool) as conn:
        await _learn_words(conn, pack)


async def _learn_words(conn: asyncpg.Connection, pack: Pack) -> None:
    await conn.execute(
        """
        INSERT INTO audit_word (month, word_no, content)
        SELECT $1, (SELECT coalesce(max(word_no), 0) FROM audit_word WHERE month = $1)
                   + row_number() OVER (ORDER BY used DESC, content), content
          FROM (SELECT jsonb_build_array(event, client_id, detail)::text AS content, count(*) AS used
                  FROM audit WHERE audit_no > $2 AND audit_no <= $3 GROUP BY 1) AS said
         WHERE NOT EXISTS (SELECT FROM audit_word w WHERE w.month = $1 AND w.content = said.content)
        ON CONFLICT DO NOTHING
        """,
        pack.month,
        pack.after_no,
        pack.upto_no,
        timeout=LONG_SECONDS,
    )


async def groups(conn: asyncpg.Connection, pack: Pack, from_id: UUID, until_id: UUID | None) -> AsyncIterator[Group]:
    """Within a transaction: what the pack must contain of the patients in [from_id, until_id); None: without end."""
    found = conn.cursor(
        """
        SELECT patient_id, pairing_id, array_agg(audit_no ORDER BY audit_no), array_agg(at_ms ORDER BY audit_no),
               array_agg(word_no ORDER BY audit_no)
          FROM audit JOIN audit_word w ON w.month = $1 AND w.content = jsonb_build_array(event, client_id, detail)::text
         WHERE audit_no > $2 AND audit_no <= $3 AND patient_id >= $4 AND ($5::uuid IS NULL OR patient_id < $5)
         GROUP BY patient_id, pairing_id ORDER BY patient_id, pairing_id
        """,
        pack.month,
        pack.after_no,
        pack.upto_no,
        from_id,
        until_id,
        prefetch=50,
        timeout=LONG_SECONDS,
    )
    async for patient_id, pairing_id, numbers, times, words in found:
        yield Group(patient_id, pairing_id, [Packed(*entry) for entry in zip(numbers, times, words, strict=True)])


async def count_unpacked(pool: asyncpg.Pool, pack: Pack) -> int:
    """How many entries with the pack's numbers are not packed."""
    async with long(pool) as conn:
        count: int = await conn.fetchval(
            "SELECT count(*) FROM audit WHERE audit_no > $1 AND audit_no <= $2",
            pack.after_no,
            pack.upto_no,
            timeout=LONG_SECONDS,
        )
        return count


@asynccontextmanager
async def long(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A transaction whose statements may read a whole day, each for up to LONG_SECONDS."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(f"SET LOCAL statement_timeout = '{LONG_SECONDS}s'")
        yield conn


async def add(conn: asyncpg.Connection, rows: Iterable[PackedRow]) -> None:
    """Within the transaction that packs them: store more packed rows."""
    await conn.copy_records_to_table("audit_packed", records=rows, columns=PackedRow._fields)


async def note(conn: Connection, pack: Pack, reached: UUID, entries: int) -> bool:
    """Note that so many more entries are packed, of patients below `reached`. False when another process did so."""
    status: str = await conn.execute(
        "UPDATE audit_pack SET reached = $2, entries = entries + $3"
        " WHERE pack_no = $1 AND reached IS NOT DISTINCT FROM $4 AND packed_ms IS NULL",
        pack.pack_no,
        reached,
        entries,
        pack.reached,
    )
    return status == "UPDATE 1"


async def finish(conn: Connection, pack: Pack, now_ms: int) -> bool:
    """From now on, the pack's entries are read from its packed rows. False when another process did it."""
    status: str = await conn.execute(
        "UPDATE audit_pack SET packed_ms = $2 WHERE pack_no = $1 AND packed_ms IS NULL", pack.pack_no, now_ms
    )
    return status == "UPDATE 1"


async def rows_of(
    conn: asyncpg.Connection, pack: Pack, pairing_id: str | None = None
) -> AsyncIterator[list[PackedRow]]:
    """Within a transaction: all rows of a pack, or those of one pairing, in batches."""
    cursor = await conn.cursor(
        f"SELECT {', '.join(PackedRow._fields)} FROM audit_packed"  # noqa: S608 - names of ours
        " WHERE day = $1 AND part >= $2 AND part < $3 AND ($4::bytea IS NULL OR pairing = $4)",
        pack.day,
        pack.first_part,
        pack.first_part + PARTS,
        pairing_bytes(pairing_id),
        timeout=LONG_SECONDS,
    )
    while rows := await cursor.fetch(ROWS):
        yield [PackedRow(*row) for row in rows]


async def words(conn: Connection, month: int, numbers: Sequence[int] | None = None) -> dict[int, Word]:
    """The words of a month by number: all of them, or those with these numbers. Damaged words are left out."""
    rows = await conn.fetch(
        "SELECT word_no, content FROM audit_word WHERE month = $1 AND ($2::integer[] IS NULL OR word_no = ANY ($2))",
        month,
        numbers,
    )
    return {row["word_no"]: word for row in rows if (word := _word(row["content"])) is not None}


def _word(content: str) -> Word | None:
    try:
        event, client_id, detail = read_json(content)
    except (ValueError, TypeError):
        return None
    return event, client_id, detail


async def dropped_until_ms(pool: asyncpg.Pool) -> int | None:
    """The time of the newest entry that was dropped; None while the whole trail exists."""
    last_ms: int | None = await pool.fetchval("SELECT max(last_ms) FROM audit_pack WHERE dropped_ms IS NOT NULL")
    return last_ms


async def drop(pool: asyncpg.Pool, before_ms: int, now_ms: int) -> int | None:
    """Drop the oldest month if it is over and all its entries are older. Returns how many entries, None: none.

    Returns None while somebody reads the trail, such as a backup; a later round will drop it.
    """
    try:
        entries: int | None = await pool.fetchval("SELECT audit_drop($1, $2)", before_ms, now_ms)
        return entries
    except asyncpg.LockNotAvailableError:
        return None
