"""Cuts the stored series of a sensor anew, in the caller's transaction (ddr.series.recut)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from ddr.aside import LARGE_CHUNKS, aside
from ddr.series.epoch import Chunk, Epoch
from ddr.series.grid import Grid
from ddr.series.merge import Merge
from ddr.series.packing import Reading
from ddr.series.recut import recut
from ddr.store.database.pool import Row
from ddr.store.series.chunks import write
from ddr.store.series.sensors import CHUNK_COLUMNS, chunk_of

_ALL_CHUNKS = f"""
    SELECT epoch_no, {CHUNK_COLUMNS} FROM chunk
     WHERE patient_id = $1 AND epoch_no = ANY($2::bigint[]) ORDER BY epoch_no, k FOR NO KEY UPDATE"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Piece:
    """One epoch, as it is now and as it was before (None when it is new): rows of chunks.lock_epoch_rows."""

    row: Row
    former: Row | None


def pieces_at(rows: Iterable[Row], times: Collection[int]) -> list[Piece]:
    """Those of the epochs `rows` (chunks.lock_epoch_rows) that contain one of these instants, as unchanged pieces."""
    return [Piece(row, row) for row in rows if any(map(Grid.of(row).holds, times))]


class UnplacedReadings(Exception):
    """A stored reading belongs to none of the epochs, and would be lost."""


async def recut_series(
    conn: asyncpg.Connection,
    pieces: Sequence[Piece],
    now_ms: int,
    delay_ms: int,
    removed: Collection[Reading] = frozenset(),
    added: Collection[Reading] = frozenset(),
) -> None:
    """Assign each stored reading of these epochs, without `removed` and with `added`, to the epoch of its time.

    The chunks are then cut anew and stored. The epochs must be those of one locked sensor, and include all that share
    readings. `delay_ms` is as for merge_readings. Raises UnplacedReadings.
    """
    if not pieces:
        return
    patient_id = pieces[0].row["patient_id"]
    stored = await chunks_of(conn, patient_id, [piece.row["epoch_no"] for piece in pieces])
    large = len(pieces) + sum(map(len, stored.values())) > LARGE_CHUNKS
    cuts = await aside(large, lambda: list(_cuts(pieces, stored, removed, added, now_ms, delay_ms)))
    for number, epoch, merged in cuts:
        await write(conn, patient_id, number, epoch, merged)


def _cuts(
    pieces: Sequence[Piece],
    stored: Mapping[int, Sequence[Chunk]],
    removed: Collection[Reading],
    added: Collection[Reading],
    now_ms: int,
    delay_ms: int,
) -> Iterator[tuple[int, Epoch, Merge]]:
    """What to write for each epoch. Raises UnplacedReadings."""
    period_ms = pieces[0].row["period_ms"]
    known = {reading for chunks in stored.values() for chunk in chunks for reading in chunk.readings(period_ms)}
    readings = sorted(known.difference(removed).union(added))
    epochs = [Epoch.of(piece.row, delay_ms) for piece in pieces]
    own: list[list[Reading]] = [[] for _ in epochs]
    for reading in readings:
        holders = [part for epoch, part in zip(epochs, own, strict=True) if epoch.grid.holds(reading[0])]
        if not holders:
            raise UnplacedReadings
        for part in holders:
            part.append(reading)
    for piece, epoch, part in zip(pieces, epochs, own, strict=True):
        former = None if piece.former is None else Epoch.of(piece.former, delay_ms)
        number = piece.row["epoch_no"]
        yield number, epoch, recut(epoch, former, stored.get(number, ()), part, now_ms)


async def chunks_of(conn: asyncpg.Connection, patient_id: UUID, numbers: Sequence[int]) -> dict[int, list[Chunk]]:
    """All chunks of these epochs, locked so that nothing is appended to them."""
    found: dict[int, list[Chunk]] = {}
    for row in await conn.fetch(_ALL_CHUNKS, patient_id, numbers):
        found.setdefault(row["epoch_no"], []).append(chunk_of(row))
    return found
