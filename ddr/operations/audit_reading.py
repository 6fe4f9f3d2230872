"""Reads the audit trail: entries by number, from packed and unpacked ones.

A pack is ordered by patient. Its entries are sorted in portions and merged; when there are many, the portions are in
unnamed files, which disappear with the process.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import IO, Any

import asyncpg
import orjson

from ddr.aside import aside
from ddr.store.audit import entries as hot
from ddr.store.audit import packs
from ddr.store.audit.entries import Entry
from ddr.store.audit.packs import Pack, PackedRow, Word

SLICE = 10_000  # read at once
IN_MEMORY = 200_000  # entries that are sorted at once


class DamagedTrail(Exception):
    """A pack of the trail cannot be read; the message says which, and why."""


async def entries(pool: asyncpg.Pool, wanted: Mapping[str, Any]) -> AsyncIterator[Entry]:
    """All entries that match `wanted` (ddr.store.audit.entries.matching), oldest first, however many.

    Raises DamagedTrail where a pack is unreadable or incomplete; earlier entries have been yielded by then.
    """
    after_no = 0
    while True:
        if (pack := await packs.covering(pool, after_no)) is not None:
            if pack.dropped_ms is None:
                async for entry in _of_pack(pool, pack, wanted, after_no):
                    yield entry
            after_no = pack.upto_no
            continue
        read = await hot.matching(pool, wanted, after_no, SLICE)
        if read.packed_upto > after_no:
            continue  # the wanted entries were packed meanwhile
        found = await aside(True, read.entries)
        for entry in found:
            yield entry
        if len(found) < SLICE:
            return
        after_no = found[-1].audit_no


async def _of_pack(pool: asyncpg.Pool, pack: Pack, wanted: Mapping[str, Any], after_no: int) -> AsyncIterator[Entry]:
    with ExitStack() as files:
        runs: list[Iterable[Entry]] = []
        gathered: list[Entry] = []
        seen = 0
        async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            words = await packs.words(conn, pack.month)
            async for rows in packs.rows_of(conn, pack, wanted["pairing_id"]):
                there, fitting = await aside(True, _fitting, rows, words, wanted, after_no)
                seen += there
                gathered += fitting
                if len(gathered) >= IN_MEMORY:
                    runs.append(_laid_aside(files, sorted(gathered, key=_number)))
                    gathered = []
        if wanted["pairing_id"] is None and seen != pack.entries:
            raise DamagedTrail(f"the packed entries of {pack.date} are incomplete: {seen} of {pack.entries}")
        for entry in heapq.merge(*runs, sorted(gathered, key=_number), key=_number):
            yield entry


def _fitting(
    rows: Iterable[PackedRow], words: Mapping[int, Word], wanted: Mapping[str, Any], after_no: int
) -> tuple[int, list[Entry]]:
    """The number of entries in these rows, and the wanted ones."""
    there, fitting = 0, list[Entry]()
    for row in rows:
        try:
            held = row.entries(words)
        except ValueError as error:
            raise DamagedTrail(f"a packed row of {packs.date_of(row.day)} {error}") from None
        there += len(held)
        fitting += [entry for entry in held if entry.audit_no > after_no and hot.fits(entry, wanted)]
    return there, fitting


def _laid_aside(files: ExitStack, run: Iterable[Entry]) -> Iterator[Entry]:
    """The same entries, from a file that exists until `files` closes. Raises OSError that names its folder, which is
    not the folder of the export, and may be full."""
    try:
        file = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - `files` closes it
        try:
            return _written(file, run)
        except OSError:
            with suppress(OSError):  # the error of a pending write, which closing `files` would raise again
                file.close()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.tempdir) from None


def _written(file: IO[bytes], run: Iterable[Entry]) -> Iterator[Entry]:
    """The same entries, read back from a file."""
    file.writelines(orjson.dumps(list(entry)) + b"\n" for entry in run)
    file.seek(0)
    return (Entry(*orjson.loads(line)) for line in file)


def _number(entry: Entry) -> int:
    return entry.audit_no
