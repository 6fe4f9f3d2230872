"""Different values of one instant of a series, in order of arrival; used under the lock of the patient.

Without a correction all of them are stored, and the series decides which one is shown. A correction replaces the
others, which stay here, whether they come before or after it. When the shown value is taken back, the newest of the
remaining corrections replaces it, or else the newest of the other values. Values of many that are not kept are counted
(ddr.series.rivals).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from ddr.series.packing import ERROR, HIGH, LOW, Reading
from ddr.series.reading import Rules
from ddr.series.rivals import NEWEST
from ddr.series.slots import shown_of

_NOTE = """
    INSERT INTO claim (patient_id, sensor_no, time_ms, raw, claimed_ms, replaced_ms)
    SELECT $1, $2, time, raw, $5, $6 FROM unnest($3::bigint[], $4::integer[]) WITH ORDINALITY AS w (time, raw, place)
     ORDER BY place
        ON CONFLICT DO NOTHING"""

# Where patients are spread, an UPDATE cannot draw numbers from a sequence.
_NUMBERS = "SELECT nextval(pg_get_serial_sequence('claim', 'claim_no')) AS number FROM generate_series(1, $1)"

# The statements also name the first and the last of the times, so that the index finds the joined claims. Otherwise the
# planner would assume one or two claims per sensor, for which reading all of them is just as good.

# There is a number only for corrections.
_REPLACE = """
    UPDATE claim c SET replaced_ms = CASE WHEN c.raw = w.raw THEN NULL ELSE coalesce(c.replaced_ms, $5) END,
                       correction = c.correction OR (c.raw = w.raw AND w.number IS NOT NULL),
                       claim_no = CASE WHEN c.raw = w.raw THEN coalesce(w.number, c.claim_no) ELSE c.claim_no END
      FROM unnest($3::bigint[], $4::integer[], $6::bigint[]) AS w (time, raw, number)
     WHERE c.patient_id = $1 AND c.sensor_no = $2 AND c.time_ms = w.time AND c.time_ms BETWEEN $7 AND $8"""

_CLAIMS = """
    SELECT time_ms, raw, replaced_ms, correction FROM claim
     WHERE patient_id = $1 AND sensor_no = $2 AND time_ms BETWEEN $3 AND $4 ORDER BY claim_no"""

_NO_CORRECTION = """
    UPDATE claim c SET correction = false FROM unnest($3::bigint[], $4::integer[]) AS w (time, raw)
     WHERE c.patient_id = $1 AND c.sensor_no = $2 AND (c.time_ms, c.raw) = (w.time, w.raw) AND c.correction
       AND c.time_ms BETWEEN $5 AND $6"""

_ORDER = """
    SELECT time_ms, raw, replaced_ms FROM claim
     WHERE patient_id = $1 AND sensor_no = $2 AND time_ms = ANY($3::bigint[]) AND time_ms BETWEEN $4 AND $5
     ORDER BY correction, claim_no"""

# Replaced values are kept as many as others (ddr.series.rivals): the first one, and the newest corrections and the
# newest others, NEWEST of each.
_LEAVE_OUT = f"""
    WITH placed AS (
        SELECT time_ms, raw, replaced_ms, row_number() OVER (PARTITION BY time_ms ORDER BY claim_no) AS place,
               row_number() OVER (PARTITION BY time_ms, correction ORDER BY claim_no DESC) AS newest
          FROM claim
         WHERE patient_id = $1 AND sensor_no = $2 AND time_ms = ANY($3::bigint[]) AND time_ms BETWEEN $6 AND $7
    ), surplus AS (
        SELECT time_ms, raw FROM placed WHERE replaced_ms IS NOT NULL AND place > 1 AND newest > {NEWEST}
        UNION SELECT time, raw FROM unnest($4::bigint[], $5::integer[]) AS w (time, raw)
    ), gone AS (
        DELETE FROM claim c USING surplus s
         WHERE c.patient_id = $1 AND c.sensor_no = $2 AND c.time_ms = s.time_ms AND c.raw = s.raw
           AND c.time_ms BETWEEN $6 AND $7
        RETURNING c.time_ms, c.left_out
    ), counted AS (
        SELECT time_ms, sum(n) AS n
          FROM (SELECT time_ms, 1 AS n FROM surplus UNION ALL SELECT time_ms, left_out FROM gone) one GROUP BY time_ms
    )
    UPDATE claim c SET left_out = c.left_out + n.n FROM placed p JOIN counted n ON n.time_ms = p.time_ms
     WHERE c.patient_id = $1 AND c.sensor_no = $2 AND c.time_ms = p.time_ms AND c.raw = p.raw AND p.place = 1
       AND c.time_ms BETWEEN $6 AND $7"""  # noqa: S608

_BEYOND = """
    DELETE FROM claim WHERE patient_id = $1 AND sensor_no = $2 AND (raw < $3 OR raw > $4) AND raw <> $5
    RETURNING time_ms, raw, claim_no, claimed_ms, replaced_ms, correction, left_out"""

_PUT = """
    INSERT INTO claim (patient_id, sensor_no, time_ms, raw, claim_no, claimed_ms, replaced_ms, correction, left_out)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""


@dataclass
class Noted:
    """What is noted about the instants of an upload's readings."""

    replaced: set[Reading] = field(default_factory=set)  # those of its readings that another value replaces
    overruled: set[Reading] = field(default_factory=set)  # new ones at instants that have a correction
    came: dict[int, list[int]] = field(default_factory=dict)  # instant → stored raw values in order of arrival


@dataclass
class Change:
    """Readings to remove from a series and to add to it."""

    removed: set[Reading] = field(default_factory=set)
    added: set[Reading] = field(default_factory=set)


async def note_rivals(
    conn: asyncpg.Connection,
    patient_id: UUID,
    sensor_no: int,
    rivals: Iterable[Reading],
    now_ms: int,
    overruled: bool = False,
) -> None:
    """Note different values of equal instants in order of arrival; known ones keep their place.

    `overruled`: they came after the correction that replaces them.
    """
    rows = list(rivals)
    if rows:
        columns = map(list, zip(*rows, strict=True))
        await conn.execute(_NOTE, patient_id, sensor_no, *columns, now_ms, now_ms if overruled else None)


async def stand(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, readings: Collection[Reading], now_ms: int, newest: bool
) -> None:
    """Let these readings, all noted, replace all others of their instants.

    `newest`: they are corrections, and came last.
    """
    if readings:
        numbers = [row["number"] for row in await conn.fetch(_NUMBERS, len(readings))] if newest else []
        columns = map(list, zip(*readings, strict=True))
        span = _span(time for time, _ in readings)
        await conn.execute(_REPLACE, patient_id, sensor_no, *columns, now_ms, numbers, *span)


def _span(times: Iterable[int]) -> tuple[int, int]:
    """The first and the last of some instants."""
    known = list(times)
    return min(known), max(known)


async def leave_out(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, times: Collection[int], more: Collection[Reading]
) -> None:
    """Keep no more values of these instants than needed, and count the others: `more`, and surplus replaced ones."""
    if times:
        whose, raws = [time for time, _ in more], [raw for _, raw in more]
        span = _span([*times, *whose])
        await conn.execute(_LEAVE_OUT, patient_id, sensor_no, list(times), whose, raws, *span)


async def noted_on(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, readings: Sequence[Reading]) -> Noted:
    """What is noted about the instants of `readings`, which ascend."""
    found, standing, replaced = Noted(), dict[int, int](), set[Reading]()
    for row in await conn.fetch(_CLAIMS, patient_id, sensor_no, readings[0][0], readings[-1][0]):
        time, raw = row["time_ms"], row["raw"]
        if row["replaced_ms"] is not None:
            replaced.add((time, raw))
            continue
        found.came.setdefault(time, []).append(raw)
        if row["correction"]:
            standing[time] = raw
    found.replaced = replaced.intersection(readings)
    if standing:
        others = {reading for reading in readings if standing.get(reading[0], reading[1]) != reading[1]}
        found.overruled = others - replaced
    return found


async def withdraw(
    conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, gone: Collection[Reading], now_ms: int
) -> Change:
    """Make sure that the readings in `gone` no longer count. Returns what the series must change for other values.

    Where the shown value is among them, the newest of the others replaces it. None of them is a correction any more,
    even when it comes again.
    """
    change = Change()
    if not gone:
        return change
    times = {time for time, _ in gone}
    span = _span(times)
    await conn.execute(_NO_CORRECTION, patient_id, sensor_no, *map(list, zip(*gone, strict=True)), *span)
    rows = await conn.fetch(_ORDER, patient_id, sensor_no, list(times), *span)
    claims: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for row in rows:
        claims[row["time_ms"]].append((row["raw"], row["replaced_ms"] is None))
    standing: set[Reading] = set()
    for time, values in claims.items():
        stored = [raw for raw, stands in values if stands]
        left = [raw for raw, _ in values if (time, raw) not in gone]
        if not left or not stored or (time, shown_of(stored)) not in gone:
            continue  # there is no other value, or the shown one stays
        standing.add((time, left[-1]))
        change.added.add((time, left[-1]))
        change.removed.update((time, raw) for raw in stored if raw != left[-1])
    await stand(conn, patient_id, sensor_no, standing, now_ms, newest=False)
    return change


async def keep_within(conn: asyncpg.Connection, patient_id: UUID, sensor_no: int, rules: Rules) -> None:
    """Turn values beyond the limits of `rules` into LOW and HIGH.

    Values that become equal become one. It has the place of the first of them or, if there are corrections among them,
    of the last correction. It counts as replaced only if all of them were.
    """
    least, most = (LOW if rules.lowest is None else rules.lowest), (HIGH if rules.highest is None else rules.highest)
    same: dict[Reading, list[asyncpg.Record]] = defaultdict(list)
    for row in await conn.fetch(_BEYOND, patient_id, sensor_no, least, most, ERROR):
        same[row["time_ms"], rules.within(row["raw"])].append(row)
    together = []
    for reading, rows in same.items():
        corrections = [row["claim_no"] for row in rows if row["correction"]]
        number = max(corrections) if corrections else min(row["claim_no"] for row in rows)
        replaced = [row["replaced_ms"] for row in rows if row["replaced_ms"] is not None]
        replaced_ms = min(replaced) if len(replaced) == len(rows) else None
        claimed_ms, left_out = min(row["claimed_ms"] for row in rows), sum(row["left_out"] for row in rows)
        together.append((patient_id, sensor_no, *reading, number, claimed_ms, replaced_ms, bool(corrections), left_out))
    await conn.executemany(_PUT, together)
