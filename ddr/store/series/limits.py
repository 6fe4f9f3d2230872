"""When a sensor's limits become known after its registration, whatever is shown of it states them from then on.

Numbers beyond them that were stored before become L and U, as later ones do. So what is stored does not depend on which
came first, and the same upload again is recognised. The limits from an import may be a guess based on a later file:
they are widened to include the values of earlier files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

import asyncpg

from ddr.aside import LARGE_CHUNKS, aside
from ddr.imports.calls import KEY
from ddr.series.epoch import Chunk, Epoch
from ddr.series.packing import ERROR, HIGH, LOW, decode_values
from ddr.series.reading import Rules
from ddr.series.resettle import restated
from ddr.store.database.pool import Row
from ddr.store.series.chunks import change_terms, lock_epoch_rows, write
from ddr.store.series.claims import keep_within as keep_claims_within
from ddr.store.series.recut import chunks_of
from ddr.store.series.uploads import keep_within as keep_uploads_within

_LIMITS = """
    UPDATE sensor SET lower_limit = $3, upper_limit = $4, registration = $5
     WHERE patient_id = $1 AND sensor_no = $2"""


class NumbersBeyond(Exception):
    """The limits were a guess, and some number lies beyond them."""


async def add_limits(
    conn: asyncpg.Connection,
    sensor: Row,
    registration: dict[str, Any],
    columns: Row,
    now_ms: int,
    delay_ms: int,
    unless_beyond: Collection[float] | None = None,
) -> None:
    """Within the caller's transaction: store the limits in `columns` and make new versions of the chunks.

    `registration` is that of the sensor with its limits; `delay_ms` is as for merge_readings. With `unless_beyond` the
    limits are a guess: raises NumbersBeyond when one of these numbers, or of the stored ones, lies beyond a new limit.
    """
    patient_id, sensor_no = sensor["patient_id"], sensor["sensor_no"]
    rows = await lock_epoch_rows(conn, patient_id, sensor_no)
    numbers = [row["epoch_no"] for row in rows]
    stored = await chunks_of(conn, patient_id, numbers)
    imported = sensor["sensor_key"].startswith(KEY)
    if imported or unless_beyond is not None:
        chunks = [chunk for part in stored.values() for chunk in part]
        large = len(chunks) > LARGE_CHUNKS
        widened = await aside(large, _widened, columns, chunks, sensor["decimals"], unless_beyond or ())
        if imported:
            columns, registration = widened, registration | {"limits": stated(widened)}
        elif any(sensor[name] is None and widened[name] != columns[name] for name in widened):
            raise NumbersBeyond
    rules = Rules.of(sensor["unit"], sensor["decimals"], columns["lower_limit"], columns["upper_limit"])
    await conn.execute(_LIMITS, patient_id, sensor_no, columns["lower_limit"], columns["upper_limit"], registration)
    for row in rows:
        number, epoch = row["epoch_no"], Epoch.of(row, delay_ms)
        own = stored.get(number, ())
        merged = await aside(len(own) > LARGE_CHUNKS, restated, epoch, own, now_ms, rules)
        await write(conn, patient_id, number, epoch, merged)
    await change_terms(conn, patient_id, numbers)
    await keep_claims_within(conn, patient_id, sensor_no, rules)
    await keep_uploads_within(conn, patient_id, sensor_no, rules)


def _widened(
    columns: Row, chunks: Iterable[Chunk], decimals: int, others: Collection[float]
) -> Mapping[str, Decimal | None]:
    """The limits in `columns`, widened so that no number of `chunks`, and none of `others`, lies beyond them."""
    raws = set[int]().union(*(decode_values(chunk.vals) for chunk in chunks)) - {LOW, ERROR, HIGH}
    numbers = [*(Decimal(raw).scaleb(-decimals) for raw in raws), *(Decimal(repr(number)) for number in others)]
    return {
        name: columns[name] if columns[name] is None else reach([columns[name], *numbers])
        for name, reach in (("lower_limit", min), ("upper_limit", max))
    }


def stated(columns: Row) -> dict[str, float]:
    """The limits of a sensor as a registration states them."""
    limits = {name: columns[f"{name}_limit"] for name in ("lower", "upper")}
    return {name: float(value) for name, value in limits.items() if value is not None}
