"""What becomes visible with a dedicated measurement: its Device, its DeviceMetric, and what it is derived from.

As in ddr.store.devices.appearance, except that an Observation may repeatedly be the first one for a long time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from ddr.store.database.each_there import Statement
from ddr.store.database.pool import Row
from ddr.store.database.stamps import moved
from ddr.store.measurements.measurements import BRIEF_MS, END, LASTING

_DERIVING = """x.patient_id = $1 AND x.derived_from <> '{}' AND x.deleted_ms IS NULL AND x.effective_ms >= t.floor_ms"""


def _unseen(column: str) -> str:
    """The numbers in this column of `t` that no visible measurement refers to.

    Visible are measurements made in the period or shortly before it, those that last into it, and at any age those from
    which one within the period is derived (LF-028). OFFSET 0 makes the planner look each of them up by its index, one
    target after another; otherwise it assumes a few measurements per patient, for which reading all is just as good.
    CASE makes it look in this order: the first kind most often exists, and the sources of derived ones may be much to
    read. A target without a number is skipped, as all measurements of the period would be read for it.
    """
    stored = f"m.patient_id = $1 AND m.miv_url = t.miv_url AND m.{column} = t.{column} AND m.deleted_ms IS NULL"
    return f"""
        SELECT t.{column} AS no FROM t
         WHERE t.{column} IS NOT NULL AND NOT CASE
               WHEN EXISTS (SELECT FROM measurement m
                             WHERE {stored} AND m.effective_ms >= t.floor_ms - {BRIEF_MS} AND {END} >= t.floor_ms
                            OFFSET 0) THEN true
               WHEN EXISTS (SELECT FROM measurement m WHERE {stored} AND {LASTING} AND {END} >= t.floor_ms OFFSET 0)
               THEN true
               ELSE EXISTS (SELECT FROM measurement x CROSS JOIN LATERAL unnest(x.derived_from) AS n (no)
                              CROSS JOIN LATERAL (SELECT miv_url, {column}, deleted_ms FROM measurement
                                                   WHERE patient_id = $1 AND measurement_no = n.no OFFSET 0) AS m
                             WHERE {_DERIVING} AND m.miv_url = t.miv_url AND m.{column} = t.{column}
                               AND m.deleted_ms IS NULL OFFSET 0) END"""  # noqa: S608


def _among(number: str, numbers: str) -> str:
    """Whether a number is among `numbers`, as an index can answer: also between first and last, however joined."""
    return f"""{number} IN (SELECT no FROM {numbers})
           AND {number} BETWEEN (SELECT min(no) FROM {numbers}) AND (SELECT max(no) FROM {numbers})"""  # noqa: S608


_TARGETS = f"""
    WITH t AS MATERIALIZED (
        SELECT DISTINCT w.miv_url, coalesce(w.device_no, s.device_no) AS device_no,
               coalesce(w.epoch_no, s.epoch_no) AS epoch_no, w.floor_ms
          FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
               AS w (miv_url, device_no, epoch_no, floor_ms, source_no)
          LEFT JOIN LATERAL (SELECT device_no, epoch_no FROM measurement
                              WHERE patient_id = $1 AND measurement_no = w.source_no OFFSET 0) AS s ON true),
    new_devices AS MATERIALIZED ({_unseen("device_no")}),
    new_metrics AS MATERIALIZED ({_unseen("epoch_no")}),
    devices AS (
        UPDATE device d SET updated_ms = {moved("d.updated_ms", "$7")}
         WHERE d.patient_id = $1 AND {_among("d.device_no", "new_devices")}),
    metrics AS (
        UPDATE epoch e SET updated_ms = {moved("e.updated_ms", "$7")}
         WHERE e.patient_id = $1 AND {_among("e.epoch_no", "new_metrics")})
    SELECT"""  # noqa: S608

_SOURCES = f"""
    WITH t AS MATERIALIZED (
        SELECT source_no AS no, floor_ms FROM unnest($2::bigint[], $3::bigint[]) AS w (source_no, floor_ms))
    UPDATE measurement m SET updated_ms = {moved("m.updated_ms", "$4")} FROM t
     WHERE m.patient_id = $1 AND m.measurement_no = t.no AND {_among("m.measurement_no", "t")}
       AND NOT (m.deleted_ms IS NULL
                AND ({END} >= t.floor_ms
                     OR EXISTS (SELECT FROM measurement x
                                 WHERE {_DERIVING} AND m.measurement_no = ANY (x.derived_from) OFFSET 0)))"""  # noqa: S608


def appearing(patient_id: UUID, rows: Sequence[Row], floors: Mapping[str, int], now_ms: int) -> list[Statement]:
    """The statements that give a new timestamp to whatever only these measurements, which are stored next, will visibly
    refer to.

    `floors` gives the time in ms from which measurements of a MIV are visible (its Historic-Data-Period).
    """
    targets = {
        target
        for row in rows
        for target in (
            (row["miv_url"], row["device_no"], row["epoch_no"], floors[row["miv_url"]], None),
            *((row["miv_url"], None, None, floors[row["miv_url"]], source) for source in row["derived_from"]),
        )
    }
    if not targets:
        return []
    found = [Statement(_TARGETS, (patient_id, *_columns(targets), now_ms))]
    sources = {(source, floor) for _, _, _, floor, source in targets if source is not None}
    if sources:
        found.append(Statement(_SOURCES, (patient_id, *_columns(sources), now_ms)))
    return found


async def targets_appear(
    conn: asyncpg.Connection, patient_id: UUID, rows: Sequence[Row], floors: Mapping[str, int], now_ms: int
) -> None:
    """Execute these statements."""
    for said in appearing(patient_id, rows, floors, now_ms):
        await conn.execute(said.text, *said.arguments)


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
