"""Recomputes the chain of seals over packed and unpacked entries, one slice after another.

A pack is one slice: its entries are ordered by patient, and each counts for the seal that covers its number. Unpacked
entries are read seal by seal. Each slice is judged by itself; no transaction lasts longer than one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import asyncpg

from ddr.aside import aside
from ddr.durations import DAY_MS
from ddr.operations.audit_chain import GENESIS, IN_ORDER, Seal, Tally, chain_faults, entry_faults
from ddr.store.audit import entries as hot
from ddr.store.audit import packs, seals
from ddr.store.audit.packs import Pack, PackedRow, Word
from ddr.store.database.clock import present_ms

SEALS = 1000  # read at once
IN_MEMORY = 200_000  # entries under seals of the older form, which are needed in order
LEAST_DAYS = 30


@dataclass
class Findings:
    """The result of `verify`. `head` vouches for everything sealed; compare it with one that was kept elsewhere."""

    faults: tuple[str, ...] = ()
    seals: int = 0
    entries: int = 0
    purged_seals: int = 0
    unsealed: int = 0
    head: str = GENESIS.head


async def verify(
    pool: asyncpg.Pool, recorded: str | None = None, from_seal: int = 1, now_ms: int | None = None
) -> Findings:
    """Recompute the chain from seal number `from_seal` on. `recorded` is a head noted earlier, which must be part of
    the chain; `now_ms` is the present instant, by default that of the database. Raises LookupError when there is no
    seal before `from_seal`."""
    now_ms = await present_ms(pool) if now_ms is None else now_ms
    return await _Walk(pool, recorded, await _start(pool, from_seal), now_ms).whole()


async def _start(pool: asyncpg.Pool, from_seal: int) -> Seal:
    if from_seal <= 1:
        return GENESIS
    row = await seals.seal_numbered(pool, from_seal - 1)
    if row is None:
        raise LookupError(f"the chain has no seal {from_seal - 1}")
    return Seal(**row)


class _Walk:
    """The walk along the chain, from one seal to the next: its position, and the result so far (`found`)."""

    def __init__(self, pool: asyncpg.Pool, recorded: str | None, former: Seal, now_ms: int) -> None:
        self._pool, self._recorded = pool, recorded
        self._latest_ms = now_ms + DAY_MS  # the latest possible drop: clocks differ by a day at most
        self._former = former  # the last judged seal
        self._upto_no = former.upto_no  # number of the last entry read
        self._recorded_was_met = recorded in (None, former.head)
        self._faults: list[str] = []  # a trail that lost a month has one for each minute
        self.found = Findings(head=former.head)

    async def whole(self) -> Findings:
        """Walk to the end of the chain."""
        while True:
            pack = await packs.covering(self._pool, self._upto_no)
            if pack is not None:
                await self._read_pack(pack)
            elif not await self._read_unpacked():
                break
        if not self._recorded_was_met:
            self._faulty([f"the chain has no seal {self._recorded}"])
        self.found.unsealed = await hot.unsealed(self._pool)
        self.found.faults = tuple(self._faults)
        return self.found

    def _faulty(self, faults: Iterable[str]) -> None:
        self._faults += faults

    def _go_on_to(self, seal: Seal) -> None:
        """Judge how the next seal is chained to the previous one, and advance to it."""
        self._faulty([*chain_faults(self._former, seal), *self._purged_early(seal)])
        self.found.seals += 1
        self.found.head = seal.head
        self._recorded_was_met = self._recorded_was_met or seal.head == self._recorded
        self._former = seal

    async def _read_unpacked(self) -> bool:
        """Judge some unpacked seals; False when there are no more."""
        rows = await seals.seals_after(self._pool, self._former.seal_no, SEALS)
        for row in rows:
            former, seal = self._former, Seal(**row)
            read = await hot.between(self._pool, former.upto_no, seal.upto_no)
            if read.packed_upto > self._upto_no:
                return True  # packed meanwhile
            tally = await aside(True, _tallied, seal, read)
            self._faulty(entry_faults(former, seal, tally))
            self.found.purged_seals += seal.purged_ms is not None
            self.found.entries += tally.count
            self._go_on_to(seal)
            self._upto_no = max(self._upto_no, seal.upto_no)
        return bool(rows)

    async def _dropped_early(self, pack: Pack, covered: Sequence[Seal]) -> list[str]:
        """A fault if the entries of a pack were dropped too early, else none.

        The latest entry is taken to be as late as both the pack and the seals over it (`covered`) say, since no seal
        vouches for the times in a pack. A seal more than a day later than the packing was dated by a clock that ran
        ahead, and is ignored.
        """
        at_ms = min(pack.dropped_ms or 0, self._latest_ms)
        latest_ms = min(pack.packed_ms or 0, at_ms) + DAY_MS
        sealed = [ms for seal in covered if (ms := min(seal.last_ms, seal.sealed_ms)) <= latest_ms]
        newest_ms = await packs.newest_entry_ms(self._pool, pack, at_ms)
        last_ms = None if newest_ms is None else max([newest_ms, *sealed])
        return _early(f"up to {pack.upto_no}", at_ms, last_ms)

    def _purged_early(self, seal: Seal) -> list[str]:
        """The same for unpacked entries that were deleted seal by seal."""
        if seal.purged_ms is None:
            return []
        return _early(f"of seal {seal.seal_no}", min(seal.purged_ms, self._latest_ms), seal.last_ms)

    async def _read_pack(self, pack: Pack) -> None:
        """Judge the seals of one pack, except those before the beginning."""
        chain = [self._former]
        async for seal in self._covered(pack):
            chain.append(seal)
        faults, entries = ([], 0) if pack.dropped_ms is not None else await _judged(self._pool, pack, chain)
        now = await packs.numbered(self._pool, pack.pack_no)
        if now.dropped_ms is not None:  # before the walk, or meanwhile
            faults, entries = await self._dropped_early(now, chain[1:]), 0
        gone = [seal for seal in chain[1:] if seal.purged_ms is not None or now.dropped_ms is not None]
        self.found.purged_seals += len(gone)
        self._faulty(faults)
        self.found.entries += entries
        for seal in chain[1:]:
            self._go_on_to(seal)
        self._upto_no = pack.upto_no

    async def _covered(self, pack: Pack) -> AsyncIterator[Seal]:
        seal_no = self._former.seal_no
        while rows := await seals.seals_after(self._pool, seal_no, SEALS):
            for row in rows:
                if row["upto_no"] > pack.upto_no:
                    return
                yield Seal(**row)
            seal_no = rows[-1]["seal_no"]


def _early(which: str, at_ms: int, last_ms: int | None) -> list[str]:
    """A fault unless the last entry was old enough when the entries were dropped."""
    if last_ms is None or at_ms < last_ms + LEAST_DAYS * DAY_MS:
        return [f"the entries {which} were dropped before {LEAST_DAYS} days had passed"]
    return []


async def _judged(pool: asyncpg.Pool, pack: Pack, chain: Sequence[Seal]) -> tuple[list[str], int]:
    """What contradicts `chain`, after its first seal, in the entries of the pack, and the number of entries.

    Seals of the older form need their entries in order, so only as many as fit into memory are judged at once.
    """
    faults, entries = list[str](), 0
    for index, wanted in enumerate(_portions(chain[1:])):
        portion = _Portion(chain, wanted)
        async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            words = await packs.words(conn, pack.month)
            async for rows in packs.rows_of(conn, pack):
                await aside(True, portion.take, rows, words)
        faults += portion.faults(with_others=index == 0)
        entries += portion.counted
    return faults, entries


def _portions(seals_: Iterable[Seal]) -> list[set[int]]:
    """Numbers of seals that are judged together."""
    portions, room = [set[int]()], IN_MEMORY
    for seal in seals_:
        if seal.form == IN_ORDER:
            if room < seal.entries and portions[-1]:
                portions.append(set())
                room = IN_MEMORY
            room -= seal.entries
        portions[-1].add(seal.seal_no)
    return portions


class _Portion:
    """Entries of a pack, each counted for its seal."""

    def __init__(self, chain: Sequence[Seal], wanted: set[int]) -> None:
        self._chain, self._wanted = chain, wanted
        self._ends = [seal.upto_no for seal in chain]
        self._tallies = {seal.seal_no: Tally(seal.form) for seal in chain[1:] if seal.seal_no in wanted}
        self._strays, self._damaged = 0, list[str]()
        self.counted = 0

    def take(self, rows: Iterable[PackedRow], words: Mapping[int, Word]) -> None:
        """Add rows; called in a thread."""
        for row in rows:
            try:
                entries = row.entries(words)
            except ValueError as error:
                self._damaged.append(f"a packed row of {packs.date_of(row.day)} {error}")
                continue
            for entry in entries:
                if entry.audit_no <= self._ends[0]:
                    continue  # before the beginning
                place = bisect_left(self._ends, entry.audit_no)
                if place == len(self._ends):
                    self._strays += 1
                elif (seal_no := self._chain[place].seal_no) in self._wanted:
                    self._tallies[seal_no].add(entry)
                    self.counted += 1

    def faults(self, with_others: bool) -> list[str]:
        """What is wrong; with or without the faults that concern no single seal."""
        found = [
            fault
            for former, seal in pairwise(self._chain)
            if seal.seal_no in self._wanted
            for fault in entry_faults(former, seal, self._tallies[seal.seal_no])
        ]
        if not with_others:
            return found
        if self._strays:
            found.append(f"{self._strays} packed entries above {self._ends[-1]} are not covered by any seal")
        return [*self._damaged, *found]


def _tallied(seal: Seal, read: hot.Slice) -> Tally:
    tally = Tally(seal.form)
    for entry in read.entries():
        tally.add(entry)
    return tally
