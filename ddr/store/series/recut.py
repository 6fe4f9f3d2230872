"""Cutting the stored series of a sensor anew, in the caller's transaction (ddr.series.recut)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from ddr.series.epoch import Chunk, Epoch
from ddr.series.packing import Reading, decode
from ddr.series.recut import recut
from ddr.store.devices.devices import Row
from ddr.store.series.chunks import write
from ddr.store.series.sensors import CHUNK_COLUMNS, chunk_of

_ALL_CHUNKS = f"""
    SELECT epoch_no, {CHUNK_COLUMNS} FROM chunk
     WHERE patient_id = $1 AND epoch_no = ANY($2::bigint[]) ORDER BY epoch_no, k FOR NO KEY UPDATE"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Piece:
    """One epoch as it is now and as it was before, None when it is new: rows of chunks.lock_epoch_rows."""

    row: Row
    former: Row | None


class UnplacedReadings(Exception):
    """A stored reading belongs to none of the epochs: it would be lost."""


async def recut_series(
    conn: asyncpg.Connection,
    pieces: Sequence[Piece],
    now_ms: int,
    delay_ms: int,
    removed: Collection[Reading] = frozenset(),
    added: Collection[Reading] = frozenset(),
) -> None:
    """Give each reading of these epochs but those in `removed`, and those in `added`, to the epoch of its time.

    Stores the chunks.

    The epochs are those of one locked sensor, and all that share readings. `delay_ms` as for merge_readings.
    Raises UnplacedReadings.
    """
    if not pieces:
        return
    patient_id, period_ms = pieces[0].row["patient_id"], pieces[0].row["period_ms"]
    stored = await chunks_of(conn, patient_id, [piece.row["epoch_no"] for piece in pieces])
    known = {reading for chunks in stored.values() for chunk in chunks for reading in _readings(chunk, period_ms)}
    readings = sorted(known.difference(removed).union(added))
    grids = [Epoch.of(piece.row, delay_ms).grid for piece in pieces]
    if not all(any(grid.holds(time) for grid in grids) for time, _ in readings):
        raise UnplacedReadings
    for piece in pieces:
        number, epoch = piece.row["epoch_no"], Epoch.of(piece.row, delay_ms)
        former = None if piece.former is None else Epoch.of(piece.former, delay_ms)
        own = [reading for reading in readings if epoch.grid.holds(reading[0])]
        await write(conn, patient_id, number, epoch, recut(epoch, former, stored.get(number, ()), own, now_ms))


async def chunks_of(conn: asyncpg.Connection, patient_id: UUID, numbers: Sequence[int]) -> dict[int, list[Chunk]]:
    """All chunks of these epochs, locked, so that nothing is appended to them."""
    found: dict[int, list[Chunk]] = {}
    for row in await conn.fetch(_ALL_CHUNKS, patient_id, numbers):
        found.setdefault(row["epoch_no"], []).append(chunk_of(row))
    return found


def _readings(chunk: Chunk, period_ms: int) -> list[Reading]:
    return decode(chunk.times, chunk.vals, chunk.start_ms, period_ms)
