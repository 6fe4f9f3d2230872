"""What an export for research reads and records (docs/research.md): who agreed, readings, what was given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ddr.research.approval import Approval
from ddr.series.status import WITHDRAWN
from ddr.store.audit.trail import Event, record
from ddr.store.database.kept import wait_for_standby
from ddr.store.database.pool import Connection, Row
from ddr.store.database.rights import Moment, in_force
from ddr.store.database.stamps import HOLD_PATIENT

# A representative's consent counts while the right is in force, even if the row of a right that is over is not closed
# yet.
_AGREED = f"""
SELECT g.patient_id, (SELECT min(r.born) FROM representation r
                       WHERE r.patient_id = g.patient_id AND {in_force("r", "$1", "$2")}) AS born
  FROM research_consent g
  JOIN patient p ON p.patient_id = g.patient_id AND p.disabled_ms IS NULL
 WHERE g.act = 'given'
   AND NOT EXISTS (SELECT FROM research_consent e WHERE e.patient_id = g.patient_id AND e.given_no = g.act_no)
   AND (g.representation_id IS NULL OR EXISTS (
        SELECT FROM representation r WHERE r.patient_id = g.patient_id AND r.representation_id = g.representation_id
           AND {in_force("r", "$1", "$2")}))
 ORDER BY g.patient_id"""  # noqa: S608 - texts of ours
_CHUNKS = f"""
SELECT c.start_ms, c.times, c.vals, e.calibration_state, s.code, s.unit, s.period_ms, s.decimals,
       s.lower_limit, s.upper_limit
  FROM chunk c
  JOIN epoch e ON e.patient_id = $1 AND e.epoch_no = c.epoch_no
  JOIN sensor s ON s.patient_id = $1 AND s.sensor_no = e.sensor_no
 WHERE c.patient_id = $1 AND s.miv_url = $2 AND s.continuous AND c.status <> '{WITHDRAWN}' AND c.filled > 0
   AND c.last_ms >= $3 AND c.start_ms < $4 AND (s.shown_from_ms IS NULL OR e.from_ms >= s.shown_from_ms)
 ORDER BY c.start_ms, c.epoch_no"""  # noqa: S608 - texts of ours
_MEASUREMENTS = """
SELECT code, effective_ms, content FROM measurement
 WHERE patient_id = $1 AND miv_url = $2 AND effective_ms >= $3 AND effective_ms < $4
   AND deleted_ms IS NULL AND status <> 'entered-in-error' ORDER BY effective_ms, measurement_no"""
_EXPORTS = """
SELECT g.export_id, array_agg(g.miv_url ORDER BY g.miv_url) AS valuesets FROM research_given g
 WHERE g.patient_id = $1 GROUP BY g.export_id"""

_NOTE = """
INSERT INTO research_export (export_id, at_ms, title, reference, recipient, until, approval_sha256, exported_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_TAKE = "INSERT INTO research_given (patient_id, export_id, miv_url, weeks) VALUES ($1, $2, $3, $4)"
_TWICE = """
SELECT true FROM research_given g JOIN research_given o
    ON o.patient_id = g.patient_id AND o.miv_url = g.miv_url AND o.export_id <> g.export_id AND o.weeks && g.weeks
 WHERE g.export_id = $1 AND g.patient_id = ANY ($2::uuid[]) LIMIT 1"""


class Agreed(NamedTuple):
    """A patient who agreed; the birthday is known for minors who are represented."""

    patient_id: UUID
    born: Any


async def agreed(conn: Connection, moment: Moment) -> list[Agreed]:
    """All patients whose consent to research is in force."""
    return [Agreed(*row) for row in await conn.fetch(_AGREED, moment.now_ms, moment.of_age_born_by)]


async def chunks(pool: asyncpg.Pool, patient_id: UUID, valueset: str, from_ms: int, until_ms: int) -> list[Row]:
    """The chunks of a continuous kind with readings in [from_ms, until_ms), in order of time. As for DiGA, what is
    withheld until its sensor is calibrated is left out."""
    rows: list[Row] = await pool.fetch(_CHUNKS, patient_id, valueset, from_ms, until_ms)
    return rows


async def measurements(pool: asyncpg.Pool, patient_id: UUID, valueset: str, from_ms: int, until_ms: int) -> list[Row]:
    """The single measurements of a kind in [from_ms, until_ms), in order of time, without those entered in error."""
    rows: list[Row] = await pool.fetch(_MEASUREMENTS, patient_id, valueset, from_ms, until_ms)
    return rows


async def taken_weeks(pool: asyncpg.Pool, patient_id: UUID, valueset: str) -> set[int]:
    """The weeks of a kind that an export has already taken."""
    rows = await pool.fetch(
        "SELECT weeks FROM research_given WHERE patient_id = $1 AND miv_url = $2", patient_id, valueset
    )
    return {week for row in rows for week in row["weeks"]}


async def note(
    pool: asyncpg.Pool,
    export_id: UUID,
    approval: Approval,
    exported_by: str,
    given: Mapping[UUID, Mapping[str, Collection[int]]],
    moment: Moment,
) -> bool:
    """Record what is given: weeks of each patient by ValueSet, and an entry in each trail; all or nothing.

    False when a patient no longer agrees, or another export took one of these weeks. This is checked at the end, while
    nobody can withdraw, so that the patients are locked only for a moment.
    """
    try:
        async with pool.acquire() as conn, conn.transaction():
            await _write_down(conn, export_id, approval, exported_by, given, moment)
    except _NotNow:
        return False
    return True


async def _write_down(
    conn: asyncpg.Connection,
    export_id: UUID,
    approval: Approval,
    exported_by: str,
    given: Mapping[UUID, Mapping[str, Collection[int]]],
    moment: Moment,
) -> None:
    await conn.execute(_NOTE, export_id, moment.now_ms, *_said(approval), exported_by)
    for patient_id, kinds in sorted(given.items()):
        for valueset, weeks in kinds.items():
            await conn.execute(_TAKE, patient_id, export_id, valueset, sorted(weeks))
        detail = {"export": str(export_id), "approval": approval.reference, "valuesets": sorted(kinds)}
        await record(conn, Event.RESEARCH_EXPORTED, moment.now_ms, patient_id=patient_id, detail=detail)
    # One by one, in the order of their ids: where patients are spread, Citus cannot lock rows of several servers at
    # once.
    await conn.executemany(HOLD_PATIENT, [(patient_id,) for patient_id in sorted(given)])
    left = given.keys() - {one.patient_id for one in await agreed(conn, moment)}
    if left or await conn.fetchval(_TWICE, export_id, list(given)):
        raise _NotNow


async def is_noted(pool: asyncpg.Pool, export_id: UUID) -> bool:
    """Whether this export was recorded. Waits for the writer, even if nothing is heard of it any more.

    Checked by writing the same again, which is rolled back: a mere read would not see what is not committed yet.
    """
    try:
        async with pool.acquire() as conn, conn.transaction():
            nothing = ("", "", "", date.max, b"", "")
            if await conn.fetchval(f"{_NOTE} ON CONFLICT DO NOTHING RETURNING true", export_id, 0, *nothing):
                raise _NotNow
    except _NotNow:
        return False
    await wait_for_standby(pool)
    return True


async def still_agree(pool: asyncpg.Pool, export_id: UUID, people: int, moment: Moment) -> bool:
    """Whether all of the `people` whose weeks this export took still agree. Deleted accounts leave no trace."""
    rows = await pool.fetch("SELECT DISTINCT patient_id FROM research_given WHERE export_id = $1", export_id)
    given = {row["patient_id"] for row in rows}
    return len(given) == people and given <= {one.patient_id for one in await agreed(pool, moment)}


class _NotNow(Exception):
    """Raised to roll back what must not be stored."""


def _said(approval: Approval) -> tuple[object, ...]:
    return approval.title, approval.reference, approval.recipient, approval.until, approval.sha256


async def exports_with(pool: Connection, patient_id: UUID) -> Sequence[Row]:
    """The exports that contain readings of this patient, newest first, each with its approval and `valuesets`."""
    kinds = {row["export_id"]: row["valuesets"] for row in await pool.fetch(_EXPORTS, patient_id)}
    rows = await pool.fetch(
        "SELECT export_id, at_ms, title, reference, recipient, until, exported_by FROM research_export"
        " WHERE export_id = ANY ($1::uuid[]) ORDER BY at_ms DESC",
        list(kinds),
    )
    return [{**row, "valuesets": kinds[row["export_id"]]} for row in rows]
