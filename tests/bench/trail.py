"""A packed audit trail of many days, as polls leave it: the seals of each minute, and one row per pairing and day.

The code that seals and packs creates it, under unused numbers; its entries never were rows of their own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ddr.operations.audit_chain import GENESIS, Seal, seal_after
from ddr.operations.audit_packing import IDS, LATE_MS
from ddr.store.audit import packs
from ddr.store.audit.entries import Entry
from ddr.store.audit.packing import Packed, pack, pairing_bytes
from ddr.store.audit.packs import Pack, PackedRow, month_of
from tests.support.audit import DAY_MS

MINUTE_MS = 60_000
POLLS = 96  # of a pairing in a day
DETAIL = {
    "type": "Observation",
    "valuesets": ["https://gematik.de/fhir/hddt/ValueSet/hddt-miv-continuous-glucose-measurement"],
}
EVENT, WORD = "diga:data:read", 1
_SEAL = "seal_no", "upto_no", "entries", "last_ms", "sealed_ms", "digest", "chain", "form"
_LEARN = """
INSERT INTO audit_word (month, word_no, content)
SELECT $1, $2, jsonb_build_array($3::text, $4::text, $5::jsonb)::text ON CONFLICT DO NOTHING"""


class Pairing(NamedTuple):
    """Whose data is read, and by whom; `polls`: so often on the last day."""

    patient_id: UUID
    client_id: str
    pairing_id: str
    polls: int = POLLS


class Made(NamedTuple):
    """What there is now: numbers of the entries, the first seals of each day."""

    entries: int
    first_seals: Sequence[int]


def entries_of(pairings: int, days: int) -> int:
    """How many entries `write` makes of so many, when all are asked for as often."""
    return pairings * POLLS * days


async def write(pool: asyncpg.Pool, pairings: Sequence[Pairing], first_day: int, days: int) -> Made:
    """The days since 1970 from `first_day` on, of one DiGA; the numbers from 1 on must be free."""
    chance, former, number, first_seals = random.Random(1), GENESIS, 0, []
    for at in range(days):
        day, last = first_day + at, at + 1 == days
        entries = list(_polls(chance, pairings, day, number, last))
        seals = list(_seals(former, entries))
        first_seals.append(seals[0].seal_no)
        await _store(pool, Pack(at + 1, day, 0, number, number + len(entries), entries[-1].at_ms), seals, entries)
        former, number = seals[-1], number + len(entries)
    return Made(number, first_seals)


def _polls(chance: random.Random, pairings: Sequence[Pairing], day: int, after_no: int, last: bool) -> Iterator[Entry]:
    """The entries of a day in the order of time: polls at about the same distance, seconds more or less."""
    times = []
    for place, pairing in enumerate(pairings):
        step = DAY_MS // (pairing.polls if last else POLLS)
        begun = chance.randrange(step // 2)
        times += [(begun + poll + chance.randrange(2000), place) for poll in range(0, DAY_MS - step // 2, step)]
    times.sort()
    for number, (at, place) in enumerate(times, after_no + 1):
        one = pairings[place]
        yield Entry(number, str(one.patient_id), day * DAY_MS + at, EVENT, one.client_id, one.pairing_id, DETAIL)


def _seals(former: Seal, entries: Sequence[Entry]) -> Iterator[Seal]:
    """One for each minute in which there was an entry."""
    for minute, found in groupby(entries, key=lambda entry: entry.at_ms // MINUTE_MS):
        former = seal_after(former, list(found), (minute + 1) * MINUTE_MS)
        yield former


async def _store(pool: asyncpg.Pool, work: Pack, seals: Sequence[Seal], entries: Sequence[Entry]) -> None:
    groups: dict[tuple[str, str | None], list[Packed]] = {}
    for entry in entries:
        groups.setdefault((entry.patient_id, entry.pairing_id), []).append(Packed(entry.audit_no, entry.at_ms, WORD))
    rows = [
        PackedRow(UUID(patient), work.day, 0, pairing_bytes(pairing), pack(found))
        for (patient, pairing), found in sorted(groups.items())
    ]
    await packs.begin(pool, work)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(_LEARN, month_of(work.day), WORD, EVENT, entries[0].client_id, DETAIL)
        records = [tuple(getattr(seal, name) for name in _SEAL) for seal in seals]
        await conn.copy_records_to_table("audit_seal", records=records, columns=_SEAL)
        await packs.add(conn, rows)
        await packs.note(conn, work, UUID(int=IDS - 1), len(entries))
    await packs.finish(pool, work, (work.day + 1) * DAY_MS + LATE_MS)
