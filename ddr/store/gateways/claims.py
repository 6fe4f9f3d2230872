"""Different values for one instant of a series, in the order in which they came; in the lock of the patient.

Without a correction all of them are stored and the series decides which one is shown. A correction stands in the place
of the others, which stay here, whether they came before or come after it. When the one that was shown is taken back,
the newest of the corrections that are left stands, or else the newest of the other values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from ddr.series.packing import Reading
from ddr.series.slots import shown_of

_NOTE = """
    INSERT INTO claim (patient_id, sensor_no, time_ms, raw, claimed_ms, replaced_ms)
    SELECT $1, $2, time, raw, $5, $6 FROM unnest($3::bigint[], $4::integer[]) WITH ORDINALITY AS w (time, raw, place)
     ORDER BY place
        ON CONFLICT DO NOTHING"""

_REPLACE = """
    UPDATE claim c SET replaced_ms = CASE WHEN c.raw = w.raw THEN NULL ELSE coalesce(c.replaced_ms, $5) END,
                       correction = CASE WHEN c.raw = w.raw THEN c.correction OR $6 ELSE c.correction END,
                       claim_no = CASE WHEN c.raw = w.raw AND $6
                                       THEN nextval(pg_get_serial_sequence('claim', 'claim_no')) ELSE c.claim_no END
      FROM unnest($3::bigint[], $4::integer[]) AS w (time, raw)
     WHERE c.patient_id = $1 AND c.sensor_no = $2 AND c.time_ms = w.time"""

_DECIDED = """
    SELECT time_ms, raw, replaced_ms FROM claim
     WHERE patient_id = $1 AND sensor_no = $2 AND time_ms BETWEEN $3 AND $4
       AND (replaced_ms IS NOT NULL OR correction)"""

_NO_CORRECTION = """
    UPDATE claim c SET correction = false FROM unnest($3::bigint[], $4::integer[]) AS w (time, raw)
     WHERE c.patient_id = $1 AND c.sensor_no = $2 AND (c.time_ms, c.raw) = (w.time, w.raw) AND c.correction"""

_ORDER = """
    SELECT time_ms, raw, replaced_ms FROM claim
     WHERE patient_id = $1 AND sensor_no = $2 AND time_ms = ANY($3::bigint[]) ORDER BY correction, claim_no"""


@dataclass
class Change:
    """Readings to take out of a series and to put into it."""

    removed: set[Reading] = field(default_factory=set)
    added: set[Reading] = field(default_factory=set)


async def note_rivals(
    conn: asyncpg.Connection,
    patient_id: UUID,
    sensor_no: int,
    rivals: Iterable[Reading],
    now_ms: int,
    behind: bool = False,
) -> None:
    """Note different values of equal instants, first those that came first; known ones keep their place.

    `behind`: they came after the correction that stands in their place.
    """
    rows = list(rivals)
    if rows:
        columns = map(list, zip(*rows, strict=True))
        await conn.execute(_NOTE, patient_id, sensor_no, *columns, now_ms, now_ms if behind else None)


async def stand(
    conn: asyncpg.Connection,
    patient_id: UUID,
    sensor_no: int,
    readings: Collection[Reading],
    now_ms: int,
    newest: bool,
) -> None:
    """Let these readings, all noted, stand in the place of all others of their instants.

    `newest`: they are corrections, and came last.
    """
    if readings:
        await conn.execute(_REPLACE, patient_id, sensor_no, *map(list, zip(*readings, strict=True)), now_ms, newest)


async def decided(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, readings: Sequence[Reading]
) -> tuple[set[Reading], set[Reading]]:
    """Of `readings`, which ascend: those in whose place another one stands, and new ones to put behind a correction."""
    rows = await conn.fetch(_DECIDED, patient_id, sensor_no, readings[0][0], readings[-1][0])
    behind = {(row["time_ms"], row["raw"]) for row in rows if row["replaced_ms"] is not None}
    standing = {row["time_ms"]: row["raw"] for row in rows if row["replaced_ms"] is None}
    late = (
        {reading for reading in readings if standing.get(reading[0], reading[1]) != reading[1]} if standing else set()
    )
    return behind.intersection(readings), late - behind


async def without(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, gone: Collection[Reading], now_ms: int
) -> Change:
    """What follows for other values when the readings in `gone` do not count any more.

    Where the value that was shown is among them, the newest of the others stands in its place. None of them is a
    correction any more, also when it comes again.
    """
    if gone:
        await conn.execute(_NO_CORRECTION, patient_id, sensor_no, *map(list, zip(*gone, strict=True)))
    rows = await conn.fetch(_ORDER, patient_id, sensor_no, list({time for time, _ in gone}))
    claims: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for row in rows:
        claims[row["time_ms"]].append((row["raw"], row["replaced_ms"] is None))
    change = Change()
    standing: set[Reading] = set()
    for time, values in claims.items():
        stored = [raw for raw, stands in values if stands]
        left = [raw for raw, _ in values if (time, raw) not in gone]
        if not left or not stored or (time, shown_of(stored)) not in gone:
            continue  # nothing else there, or what is shown stays
        standing.add((time, left[-1]))
        change.added.add((time, left[-1]))
        change.removed.update((time, raw) for raw in stored if raw != left[-1])
    await stand(conn, patient_id, sensor_no, standing, now_ms, newest=False)
    return change
