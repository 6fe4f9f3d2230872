"""What becomes visible with a dedicated measurement: its Device, its DeviceMetric, and what it is derived from.

As in ddr.store.devices.appearance, but here an Observation may be the first one for a long time over and over again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from ddr.store.database.each_there import Said
from ddr.store.database.stamps import moved

Row = Mapping[str, Any]

FOREVER = 2**63 - 1  # end of an open period

# A measurement that one within the period is derived from is visible at any age (LF-028).
_SEEN = f"""m.patient_id = $1 AND m.deleted_ms IS NULL
       AND (coalesce(m.effective_end_ms, {FOREVER}) >= t.floor_ms
            OR m.measurement_no IN (
               SELECT unnest(x.derived_from) FROM measurement x
                WHERE x.patient_id = $1 AND x.deleted_ms IS NULL AND x.effective_ms >= t.floor_ms))"""  # noqa: S608

_TARGETS = f"""
    WITH t AS (
        SELECT DISTINCT w.miv_url, coalesce(w.device_no, s.device_no) AS device_no,
               coalesce(w.epoch_no, s.epoch_no) AS epoch_no, w.floor_ms
          FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
               AS w (miv_url, device_no, epoch_no, floor_ms, source_no)
          LEFT JOIN measurement s ON s.patient_id = $1 AND s.measurement_no = w.source_no),
    devices AS (
        UPDATE device d SET updated_ms = {moved("d.updated_ms", "$7")}
         WHERE d.patient_id = $1 AND d.device_no IN (
               SELECT t.device_no FROM t WHERE NOT EXISTS (
                      SELECT FROM measurement m
                       WHERE m.device_no = t.device_no AND m.miv_url = t.miv_url AND {_SEEN}))),
    metrics AS (
        UPDATE epoch e SET updated_ms = {moved("e.updated_ms", "$7")}
         WHERE e.patient_id = $1 AND e.epoch_no IN (
               SELECT t.epoch_no FROM t WHERE NOT EXISTS (
                      SELECT FROM measurement m
                       WHERE m.epoch_no = t.epoch_no AND m.miv_url = t.miv_url AND {_SEEN})))
    SELECT"""  # noqa: S608

_SOURCES = f"""
    UPDATE measurement o SET updated_ms = {moved("o.updated_ms", "$4")}
      FROM unnest($2::bigint[], $3::bigint[]) AS t (source_no, floor_ms)
     WHERE o.patient_id = $1 AND o.measurement_no = t.source_no
       AND NOT EXISTS (SELECT FROM measurement m WHERE m.measurement_no = o.measurement_no AND {_SEEN})"""  # noqa: S608


def appearing(patient_id: UUID, rows: Sequence[Row], floors: Mapping[str, int], now_ms: int) -> list[Said]:
    """The statements that stamp what these measurements, stored next, will be the only visible ones to refer to.

    `floors` says from when on measurements of a MIV are visible (its Historic-Data-Period), in ms.
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
    found = [Said(_TARGETS, (patient_id, *_columns(targets), now_ms))]
    sources = {(source, floor) for _, _, _, floor, source in targets if source is not None}
    if sources:
        found.append(Said(_SOURCES, (patient_id, *_columns(sources), now_ms)))
    return found


async def targets_appear(
    conn: asyncpg.Connection, patient_id: UUID, rows: Sequence[Row], floors: Mapping[str, int], now_ms: int
) -> None:
    """Execute these statements."""
    for said in appearing(patient_id, rows, floors, now_ms):
        await conn.execute(said.text, *said.arguments)


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
