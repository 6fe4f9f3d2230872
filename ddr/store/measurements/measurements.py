"""Dedicated measurements and their former versions."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from uuid import UUID

import asyncpg

from ddr.store.database.each_there import Statement
from ddr.store.database.pool import Row
from ddr.store.database.stamps import moved

BRIEF_MS = 60_000  # longer measurements have an index of their own by their end (measurement_lasting)
FOREVER = 2**63 - 1  # the end of an open period
# For a measurement `m`, as that index defines them: its end, and whether it lasts longer.
END = f"coalesce(m.effective_end_ms, {FOREVER})"
LASTING = f"(m.effective_end_ms IS NULL OR m.effective_end_ms - m.effective_ms > {BRIEF_MS})"
_TOGETHER = 2000  # prepared at once; the event loop must serve others, too
_COLUMNS = """patient_id, measurement_no, measurement_key, miv_url, code_system, code, device_no, epoch_no,
    effective_ms, effective_end_ms, value, unit, comparator, content, derived_from, status, version, updated_ms,
    deleted_ms"""

BY_KEYS = f"SELECT {_COLUMNS} FROM measurement WHERE patient_id = $1 AND measurement_key = ANY($2::text[])"  # noqa: S608
# OFFSET 0 makes the index look up each time, even where the database does not know yet how many rows there are. Only a
# few times per statement, because a plan from when there were no rows reads all of a patient's rows for each.
AROUND = f"""
    SELECT {_COLUMNS} FROM unnest($3::bigint[], $4::bigint[]) AS w (from_ms, until_ms)
      CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM measurement
         WHERE patient_id = $1 AND miv_url = ANY($2::text[]) AND effective_ms BETWEEN w.from_ms AND w.until_ms
           AND deleted_ms IS NULL OFFSET 0) AS m
     ORDER BY measurement_no"""  # noqa: S608


def _insert(column: str, value: str) -> str:
    return f"""
    INSERT INTO measurement (patient_id, updated_ms, effective_ms, effective_end_ms, epoch_no, derived_from, value,
           unit, comparator, content, status, measurement_key, miv_url, code_system, code, device_no{column})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16{value})"""  # noqa: S608


_content = itemgetter(
    "effective_ms", "effective_end_ms", "epoch_no", "derived_from", "value", "unit", "comparator", "content", "status"
)
_identity = itemgetter("measurement_key", "miv_url", "code_system", "code", "device_no")
_INSERT = _insert("", "") + " RETURNING measurement_no"
_INSERT_AS = _insert(", measurement_no", ", $17")


async def by_keys(conn: asyncpg.Connection, patient_id: UUID, keys: Sequence[str]) -> dict[str, Row]:
    """The measurements with these keys, deleted ones included, by key."""
    rows: list[Row] = await conn.fetch(BY_KEYS, patient_id, keys)
    return {row["measurement_key"]: row for row in rows}


async def around(
    conn: asyncpg.Connection, patient_id: UUID, miv_urls: Sequence[str], from_ms: Sequence[int], until_ms: Sequence[int]
) -> list[Row]:
    """The measurements of these MIVs made within these intervals, which do not overlap and include both ends; deleted
    ones are left out."""
    rows: list[Row] = await conn.fetch(AROUND, patient_id, miv_urls, from_ms, until_ms)
    return rows


async def insert(conn: asyncpg.Connection, patient_id: UUID, rows: Sequence[Row], now_ms: int) -> list[int]:
    """Store new measurements, each a row with the columns that the database does not fill. Returns their numbers."""
    numbers: list[int] = []
    for at in range(0, len(rows), _TOGETHER):
        values = [(patient_id, now_ms, *_content(row), *_identity(row)) for row in rows[at : at + _TOGETHER]]
        numbers += [record["measurement_no"] for record in await conn.fetchmany(_INSERT, values)]
    return numbers


def inserting(patient_id: UUID, rows: Sequence[Row], numbers: Sequence[int], now_ms: int) -> list[Statement]:
    """The statements that do the same with numbers from `next_numbers`."""
    return [
        Statement(_INSERT_AS, (patient_id, now_ms, *_content(row), *_identity(row), number))
        for row, number in zip(rows, numbers, strict=True)
    ]


async def next_numbers(conn: asyncpg.Connection, count: int) -> list[int]:
    """Numbers for new measurements of a locked patient. The numbers of all patients come from one server."""
    if not count:
        return []
    rows = await conn.fetch(
        "SELECT nextval(pg_get_serial_sequence('measurement', 'measurement_no')) FROM generate_series(1, $1)", count
    )
    return [row[0] for row in rows]


async def revise(conn: asyncpg.Connection, patient_id: UUID, rows: Sequence[Row], now_ms: int) -> None:
    """Store new versions of measurements and keep the former ones. A row has measurement_no and what changes."""
    if not rows:
        return
    await conn.execute(
        """INSERT INTO measurement_version (patient_id, measurement_no, version, epoch_no, derived_from, content,
               status, updated_ms)
           SELECT $1, measurement_no, version, epoch_no, derived_from, content, status, updated_ms
             FROM measurement WHERE patient_id = $1 AND measurement_no = ANY($2::bigint[])""",
        patient_id, [row["measurement_no"] for row in rows],
    )  # fmt: skip
    await conn.executemany(
        f"""UPDATE measurement
              SET updated_ms = {moved("updated_ms", "$3")}, effective_ms = $4, effective_end_ms = $5, epoch_no = $6,
                  derived_from = $7, value = $8, unit = $9, comparator = $10, content = $11, status = $12,
                  version = version + 1
            WHERE patient_id = $1 AND measurement_no = $2""",  # noqa: S608
        [(patient_id, row["measurement_no"], now_ms, *_content(row)) for row in rows],
    )


async def of_epochs(conn: asyncpg.Connection, patient_id: UUID, epoch_nos: Sequence[int]) -> list[Row]:
    """The measurements that refer to the DeviceMetric of one of these epochs."""
    rows: list[Row] = await conn.fetch(
        f"""SELECT {_COLUMNS} FROM measurement
             WHERE patient_id = $1 AND epoch_no = ANY($2::bigint[]) AND deleted_ms IS NULL""",  # noqa: S608
        patient_id, epoch_nos,
    )  # fmt: skip
    return rows


async def is_source(conn: asyncpg.Connection, patient_id: UUID, measurement_no: int) -> bool:
    """True when another measurement is derived from this one; derived measurements have an index."""
    found: bool = await conn.fetchval(
        """SELECT EXISTS (SELECT FROM measurement
            WHERE patient_id = $1 AND derived_from <> '{}' AND derived_from @> ARRAY[$2::bigint]
              AND deleted_ms IS NULL)""",
        patient_id, measurement_no,
    )  # fmt: skip
    return found


async def erase(conn: asyncpg.Connection, patient_id: UUID, measurement_no: int, now_ms: int) -> None:
    """Delete a measurement: content and history are removed, the row stays to tell deleted from never stored."""
    await conn.execute(
        "DELETE FROM measurement_version WHERE patient_id = $1 AND measurement_no = $2", patient_id, measurement_no
    )
    await conn.execute(
        f"""UPDATE measurement
              SET deleted_ms = $3, updated_ms = {moved("updated_ms", "$3")}, content = '', value = NULL,
                  comparator = NULL, derived_from = '{{}}'
            WHERE patient_id = $1 AND measurement_no = $2""",  # noqa: S608
        patient_id, measurement_no, now_ms,
    )  # fmt: skip
