"""What has been kept long enough: readings, measurements, ended pairings. Batches of patients, not in requests."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from ddr.store.database.stamps import HOLD_PATIENT

FIRST = UUID(int=0)

# Nobody may ask for anything before this instant any more, and nothing from that time is accepted. The newest chunk of
# a series that is over by then stays as a place without readings, because the next chunk begins where it ended.
_OLD_CHUNKS = """
    FROM chunk c
    JOIN epoch e ON e.patient_id = c.patient_id AND e.epoch_no = c.epoch_no
    JOIN sensor s ON s.patient_id = c.patient_id AND s.sensor_no = e.sensor_no"""

_CHUNKS = f"""
    WITH old AS (
        SELECT c.patient_id, c.epoch_no, c.k,
               row_number() OVER (PARTITION BY c.patient_id, c.epoch_no ORDER BY c.k DESC) AS from_end,
               c.times <> '' AS holds
        {_OLD_CHUNKS}
         WHERE c.patient_id = $1 AND e.patient_id = $1 AND s.patient_id = $1 AND c.start_ms + s.span_ms <= $2),
    emptied AS (
        UPDATE chunk c SET times = '', vals = '', filled = 0, last_ms = c.start_ms - 1
          FROM old WHERE old.from_end = 1 AND old.holds
           AND c.patient_id = $1 AND c.epoch_no = old.epoch_no AND c.k = old.k RETURNING 1),
    deleted AS (
        DELETE FROM chunk c USING old WHERE old.from_end > 1
           AND c.patient_id = $1 AND c.epoch_no = old.epoch_no AND c.k = old.k RETURNING 1)
    SELECT (SELECT count(*) FROM emptied) + (SELECT count(*) FROM deleted)"""  # noqa: S608 - words of ours

# A measurement stays as long as a newer one is derived from it.
_MEASUREMENTS = """
    WITH deleted AS (
        DELETE FROM measurement m
         WHERE m.patient_id = $1 AND m.effective_end_ms < $2
           AND NOT EXISTS (SELECT FROM measurement d WHERE d.patient_id = $1
                              AND d.derived_from @> ARRAY[m.measurement_no]
                              AND (d.effective_end_ms IS NULL OR d.effective_end_ms >= $2))
        RETURNING m.patient_id, m.measurement_no),
    versions AS (
        DELETE FROM measurement_version v USING deleted d
         WHERE v.patient_id = $1 AND v.measurement_no = d.measurement_no)
    SELECT count(*) FROM deleted"""

_OLD_UPLOAD = "created_ms < $2 AND NOT EXISTS (SELECT FROM unnest(times) AS at WHERE at >= $2)"

_BESIDE = (
    f"DELETE FROM upload WHERE patient_id = $1 AND {_OLD_UPLOAD}",  # noqa: S608 - words of ours
    "DELETE FROM claim WHERE patient_id = $1 AND time_ms < $2",
)

# Patients who have any of this; a place without readings does not count.
_WHO = (
    f"""SELECT c.patient_id {_OLD_CHUNKS}
         WHERE c.patient_id = ANY ($1::uuid[]) AND c.start_ms + s.span_ms <= $2
         GROUP BY c.patient_id, c.epoch_no HAVING count(*) > 1 OR bool_or(c.times <> '')""",
    "SELECT DISTINCT patient_id FROM measurement WHERE patient_id = ANY ($1::uuid[]) AND effective_end_ms < $2",
    f"SELECT DISTINCT patient_id FROM upload WHERE patient_id = ANY ($1::uuid[]) AND {_OLD_UPLOAD}",  # noqa: S608
    "SELECT DISTINCT patient_id FROM claim WHERE patient_id = ANY ($1::uuid[]) AND time_ms < $2",
)

# Locked before everything that belongs to it, in the same order as by a deletion of the whole patient.
_ENDED = """
    SELECT patient_id, pairing_no, pairing_id FROM pairing WHERE patient_id = ANY ($1::uuid[]) AND ended_ms < $2
     ORDER BY patient_id, pairing_no"""

_HOLD_PAIRING = "SELECT pairing_no FROM pairing WHERE patient_id = $1 AND pairing_no = $2 FOR UPDATE"

# For a consent given while the clock was ahead: the database does not let go of such a proof, and nothing else waits
# for it.
_YOUNG_PROOF = """
    SELECT EXISTS (SELECT FROM consent c JOIN consent_record r ON r.patient_id = $1 AND r.consent_no = c.consent_no
                    WHERE c.patient_id = $1 AND c.pairing_no = $2 AND r.at_ms >= $3)"""


async def progress(pool: asyncpg.Pool, job: str) -> tuple[UUID, int | None]:
    """The last patient that the job has looked at, and when it had last finished; None while it is in progress."""
    row = await pool.fetchrow("SELECT after, done_ms FROM retention_round WHERE job = $1", job)
    return (row["after"], row["done_ms"]) if row else (FIRST, None)


async def note_progress(pool: asyncpg.Pool, job: str, after: UUID, done_ms: int | None) -> None:
    """Remember how far the job has come."""
    await pool.execute(
        "INSERT INTO retention_round VALUES ($1, $2, $3)"
        " ON CONFLICT (job) DO UPDATE SET after = excluded.after, done_ms = excluded.done_ms",
        job,
        after,
        done_ms,
    )


async def patients_after(pool: asyncpg.Pool, after: UUID, count: int) -> list[UUID]:
    """The next `count` patients in order of their ids."""
    rows = await pool.fetch(
        "SELECT patient_id FROM patient WHERE patient_id > $1 ORDER BY patient_id LIMIT $2", after, count
    )
    return [row["patient_id"] for row in rows]


async def forget_readings(pool: asyncpg.Pool, patient_ids: Sequence[UUID], before_ms: int) -> int:
    """Delete what these patients measured before this instant. Returns the number of chunks and measurements.

    Devices, sensors and their calibrations stay, and so does a reference value that is in force.
    """
    count = 0
    async with pool.acquire() as conn:
        for patient_id in await _who(conn, patient_ids, before_ms):
            async with conn.transaction():
                # Another writer of the patient may be cutting a series anew, which renumbers its chunks, taking an
                # upload back, correcting an old measurement, or deriving one from it. Nobody else waits.
                await conn.execute(HOLD_PATIENT, patient_id)
                count += await conn.fetchval(_CHUNKS, patient_id, before_ms)
                for statement in _BESIDE:
                    await conn.execute(statement, patient_id, before_ms)
                count += await conn.fetchval(_MEASUREMENTS, patient_id, before_ms)
    return count


async def _who(conn: asyncpg.Connection, patient_ids: Sequence[UUID], before_ms: int) -> list[UUID]:
    """Those of these patients who have something to delete, without waiting for anybody."""
    found: set[UUID] = set()
    for each in _WHO:
        found.update(row["patient_id"] for row in await conn.fetch(each, patient_ids, before_ms))
    return sorted(found)


async def forget_pairings(pool: asyncpg.Pool, patient_ids: Sequence[UUID], before_ms: int) -> int:
    """Delete these patients' pairings that ended before this instant, and what belongs to them. Returns how many."""
    async with pool.acquire() as conn, conn.transaction():
        count = 0
        for row in await conn.fetch(_ENDED, patient_ids, before_ms):
            mine = (row["patient_id"], row["pairing_no"])
            if await conn.fetchval(_HOLD_PAIRING, *mine) is None:  # everything of the patient was deleted meanwhile
                continue
            if await conn.fetchval(_YOUNG_PROOF, *mine, before_ms):
                continue
            consents = await conn.fetch(
                "DELETE FROM consent WHERE patient_id = $1 AND pairing_no = $2 RETURNING consent_no", *mine
            )
            await conn.execute(
                "DELETE FROM consent_record WHERE patient_id = $1 AND consent_no = ANY ($2::bigint[])",
                row["patient_id"],
                [one["consent_no"] for one in consents],
            )
            for table in ("token_grant", "opening", "grace", "pairing"):
                await conn.execute(f"DELETE FROM {table} WHERE patient_id = $1 AND pairing_no = $2", *mine)  # noqa: S608
            await conn.execute("DELETE FROM pairing_directory WHERE pairing_id = $1", row["pairing_id"])
            count += 1
    return count
